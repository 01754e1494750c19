import json
import subprocess

import pytest

from tfrecords.command_line import UserError
from tools import engines


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Puts commands of these names, and no others, on the PATH."""

    def put(*names):
        for name in names:
            (tmp_path / name).write_text("")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return put


def test_an_engine_without_its_clients_is_left_out_with_a_word(path, capsys):
    path("go", "mvn")
    assert engines.choose_engines(None) == ["prism"]
    assert capsys.readouterr().out == "flink: left out, no java on the PATH\n"


def test_an_engine_that_was_named_has_to_run(path):
    path("go", "java")
    assert engines.choose_engines(["prism"]) == ["prism"]
    with pytest.raises(UserError, match="--engines=flink: needs mvn on the PATH"):
        engines.choose_engines(["flink"])
    with pytest.raises(UserError, match="no engine 'spark'"):
        engines.choose_engines(["spark"])
    with pytest.raises(UserError, match="name at least one of prism, flink"):
        engines.choose_engines([])


class Cluster:
    """A cluster that has failed so often."""

    def __init__(self, *failures):
        self._failures = iter(failures)
        self.killed = 0

    def failures(self):
        return next(self._failures)

    def kill_task_manager(self):
        self.killed += 1


@pytest.fixture(scope="module")
def local_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    return engines.Comparison(engines.outputs.make_source(folder, clips=20, seconds=3.0), folder, num_shards=4)


@pytest.fixture
def comparison(local_run):
    local_run.failed = 0
    return local_run


def test_each_run_is_compared_with_the_local_one(comparison, capsys):
    comparison.run("again", [])
    assert comparison.failed == 0
    assert "again: 8 files identical" in capsys.readouterr().out
    comparison.run("other", ["--record_dtype=float32"])
    assert comparison.failed == 1
    printed = capsys.readouterr().out
    assert "other: 7 problems" in printed
    assert "manifest.json: its bytes differ" in printed


def test_a_kill_has_to_be_noticed_and_other_failures_are_told(comparison, capsys):
    cluster = Cluster(2, 3, 3, 3)
    comparison.run("killed", [], cluster=cluster, kill=True)
    assert (comparison.failed, cluster.killed) == (0, 1)
    assert "recovered from 1 failures" in capsys.readouterr().out
    comparison.run("by_itself", [], cluster=Cluster(3, 5))
    assert "by_itself: 8 files identical" in (printed := capsys.readouterr().out) and "from 2 failures" in printed
    comparison.run("not_noticed", [], cluster=cluster, kill=True)
    assert (comparison.failed, cluster.killed) == (1, 2)
    assert "did not notice" in capsys.readouterr().out


def test_a_failed_job_names_its_log(comparison, capsys):
    comparison.run("failed", ["--runner=NoSuchRunner"])
    assert comparison.failed == 1
    assert f"the job's status was 2; see {comparison.work_dir / 'failed.log'}" in capsys.readouterr().out


def test_the_worker_command_starts_a_worker_anywhere(tmp_path, monkeypatch):
    command = json.loads(engines.worker_command(tmp_path))["command"]
    monkeypatch.chdir("/")
    finished = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    assert "--provision_endpoint" in finished.stdout


@pytest.mark.slow
def test_a_worker_pool_listens_while_it_is_wanted():
    import grpc

    with engines.worker_pool() as address, grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=60)
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(timeout=1)
