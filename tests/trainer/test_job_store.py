import copy
import json
import os
import socket
import subprocess
import sys

import pytest

from tfrecords import object_store, storage
from tfrecords.common.command_line import UserError
from trainer import cross_validate, job_store

URL = "memory://bucket/jobs/one"


@pytest.fixture(autouse=True)
def empty():
    object_store.forget_memory()


@pytest.fixture
def log(monkeypatch):
    """What is done to the store, in order: ("put" or "delete", name)."""
    done = []
    put, delete = storage.put, storage.delete

    def noted_put(location, file):
        done.append(("put", location.removeprefix(f"{URL}/")))
        put(location, file)

    def noted_delete(locations):
        names = list(locations)
        done.extend(("delete", name.removeprefix(f"{URL}/")) for name in names if not name.endswith(".lock"))
        delete(names)

    monkeypatch.setattr(storage, "put", noted_put)
    monkeypatch.setattr(storage, "delete", noted_delete)
    return done


def names():
    return [location.removeprefix(f"{URL}/") for location, _ in storage.walk(URL)]


def test_a_path_of_this_machine_is_itself(tmp_path):
    with job_store.opened(str(tmp_path), locks=True) as path:
        assert path == tmp_path
        assert job_store.shown(path / "a") == str(tmp_path / "a")
        assert not job_store.is_published(path)
        job_store.publish(path)
    assert list(tmp_path.iterdir()) == []


def test_what_changes_is_published_in_an_order_that_a_resume_can_rely_on(log):
    with job_store.opened(f"{URL}/", locks=True) as path:
        for name in ("config.json", "best.keras", "state.npz", "time/state.npz", "logs/train/events", "history.csv"):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(name)
        (path / ".tmp-01234567-best.keras").write_text("half")
        job_store.publish(path / "below")
        assert [name for _, name in log] == [
            "state.npz",
            "time/state.npz",
            "best.keras",
            "history.csv",
            "logs/train/events",
            "config.json",
        ]
        log.clear()
        (path / "best.keras").write_text("better")
        (path / "state.npz").unlink()
        job_store.publish(path)
        assert log == [("put", "best.keras"), ("delete", "state.npz")]
        log.clear()
        (path / "config.json").unlink()
        (path / "best.keras").unlink()
    assert log == [("delete", "config.json"), ("delete", "best.keras")]
    assert not path.exists()
    assert names() == ["history.csv", "logs/train/events", "time/state.npz"]


def test_a_copy_has_what_the_store_has_but_for_logs():
    for name in ("config.json", "logs/train/events", "time/config.json"):
        storage.write(f"{URL}/{name}", name.encode())
    with job_store.opened(URL) as path:
        assert sorted(each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()) == [
            "config.json",
            "time/config.json",
        ]
        assert job_store.shown(path / "time" / "config.json") == f"{URL}/time/config.json"
        (path / "config.json").write_text("changed")
    assert storage.read(f"{URL}/config.json") == b"config.json"


def test_what_another_host_has_published_is_fetched():
    with job_store.opened(URL, locks=True) as chief, job_store.opened(URL) as other:
        (chief / "state.npz").write_text("begun")
        job_store.publish(chief)
        job_store.fetch(other)
        assert (other / "state.npz").read_text() == "begun"


def test_errors_name_the_store_and_what_is_there_by_then_is_published():
    with pytest.raises(UserError, match=f"^{URL}/config.json is damaged$"), job_store.opened(URL, locks=True) as path:
        (path / "config.json").write_text("{")
        raise UserError(f"{path}/config.json is damaged")
    assert names() == ["config.json"]


def test_two_processes_do_not_write_at_once(monkeypatch, capsys):
    monkeypatch.setattr(job_store, "_HEARTBEAT_S", 0.05)
    with (
        job_store.opened(URL, locks=True),
        pytest.raises(UserError, match=f"^{URL}: another process is writing there .process {os.getpid()} on "),
        job_store.opened(URL, locks=True),
    ):
        pass
    assert names() == []


@pytest.mark.parametrize("host", [socket.gethostname(), "another"])
def test_the_lock_of_a_killed_process_is_taken_over(host, monkeypatch):
    monkeypatch.setattr(job_store, "_DEAD_AFTER_S", 0.2)
    monkeypatch.setattr(job_store, "_HEARTBEAT_S", 0.05)
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    storage.write(f"{URL}/.lock", json.dumps({"host": host, "process": done.pid, "beat": 3}).encode())
    with job_store.opened(URL, locks=True) as path:
        (path / "config.json").write_text("{}")
    assert names() == ["config.json"]


def test_a_command_that_cannot_work_in_a_store_says_so():
    flag_values = copy.deepcopy(cross_validate.FLAGS)
    flag_values(["cross_validate", "--data_dir=data", f"--job_dir={URL}"])
    with pytest.raises(UserError, match=f"^{URL}: has to be on this machine here"):
        cross_validate.main(flag_values, [])


@pytest.mark.parametrize("remote", [False, True])
def test_logs_are_copied_to_another_directory(tmp_path, remote):
    target = "memory://bucket/logs" if remote else str(tmp_path / "other")
    with job_store.opened(f"{URL}/", locks=True) as path, job_store.logs_copied(path, f"{target}/"):
        assert job_store.is_published(path)
        events = path / "logs" / "train" / "events"
        events.parent.mkdir(parents=True)
        events.write_text("one")
        (path / "state.npz").write_text("state")
        job_store.publish(path / "state.npz")
        assert storage.read_text(f"{target}/train/events") == "one"
        events.write_text("one and two")
    assert storage.read_text(f"{target}/train/events") == "one and two"
    assert storage.read_text(f"{URL}/logs/train/events") == "one and two"
    assert [location.removeprefix(f"{target}/") for location, _ in storage.walk(target)] == ["train/events"]


def test_no_logs_are_copied_unless_asked_for(tmp_path):
    with job_store.logs_copied(tmp_path, ""):
        assert not job_store.is_published(tmp_path)


def test_a_list_that_is_older_than_the_store_loses_no_state(monkeypatch):
    for name in ("config.json", "state.npz", "old"):
        storage.write(f"{URL}/{name}", name.encode())
    listed = list(storage.walk(URL))
    storage.delete([f"{URL}/old"])
    monkeypatch.setattr(storage, "walk", lambda directory: iter([each for each in listed if "state" not in each[0]]))
    with job_store.opened(URL) as path:
        assert sorted(each.name for each in path.iterdir()) == ["config.json", "state.npz"]
