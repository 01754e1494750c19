"""Jobs and audits, from the command line, with names like globs, and with pipes and broken links as audio."""

import copy
import json
import os
import tarfile

import pytest

from beam_preprocess import __main__ as job_module
from beam_preprocess.audit import __main__ as audit_module
from tfrecords.common import command_line
from tfrecords.manifest import Manifest


def status_of(module, *arguments):
    """The exit status of a command, through the real parser, in this process."""
    values = copy.deepcopy(module.FLAGS)
    for name in values:
        values[name].unparse()
    with pytest.raises(SystemExit) as stop:
        argv = ["command", "--direct_num_workers=1", *arguments]
        command_line.run(module.main, values, usage="", pass_through=True, argv=argv)
    return stop.value.code


@pytest.fixture
def here(make_clips, tmp_path, monkeypatch):
    """A working directory and a folder of clips that are named like globs, beside files that these globs match."""
    directory = tmp_path / "work [1]*?"
    make_clips(directory / "my [music]?", labels=("jazz", "rock"), per_label=2)
    for name in ("work 1xx/out 2xx/.partial/plan.jsonl", "work 1xx/out 2xx/pairs/0001.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("of another one")
    monkeypatch.chdir(directory)
    yield directory
    assert sorted(path.read_text() for path in (tmp_path / "work 1xx").rglob("*.*") if path.is_file()) == [
        "of another one",
        "of another one",
    ]


def test_a_job_where_names_are_like_globs(here, capfd):
    with tarfile.open("set [3].tar", "w") as archive:
        archive.add("my [music]?")
    for source, name in (("my [music]?", "my_music"), ("set [3].tar", "set_3")):
        arguments = (f"--input={source}", "--output=out [2]*?", "--folds=2", "--num_shards=2", "--overwrite")
        assert status_of(job_module, *arguments) == 0
        assert sum(Manifest.load("out [2]*?").tracks(["all"]).values()) == 4
        assert Manifest.load("out [2]*?").name == name
        assert {path.name for path in (here / "out [2]*?").iterdir()} == {
            "dataset_info.json",
            "features.json",
            "manifest.json",
            "metrics.json",
            f"{name}-fold_0.tfrecord-00000-of-00001",
            f"{name}-fold_1.tfrecord-00000-of-00001",
            "rejects.jsonl",
        }
    (here / "out [2]*?" / "manifest.json").write_text("damaged")
    assert status_of(job_module, "--input=my [music]?", "--output=out [2]*?", "--folds=2", "--overwrite") == 0
    assert not list((here / "out [2]*?").glob("set_3*"))


def test_an_audit_where_names_are_like_globs(here):
    (here / "out [2]*?" / "pairs").mkdir(parents=True)
    (here / "out [2]*?" / "pairs" / "0001.png").write_bytes(b"of an earlier one")
    assert status_of(audit_module, "--input=my [music]?", "--output=out [2]*?", "--folds=2") == 0
    assert json.loads((here / "out [2]*?" / "audit.json").read_text())["tracks"] == 4
    assert not list((here / "out [2]*?" / "pairs").iterdir())


@pytest.mark.parametrize("pattern", ["music", "music/*/*", "music/tracks.csv"])
def test_pipes_and_broken_links_are_rejects(make_clips, tmp_path, read_rejects, pattern):
    paths = make_clips(tmp_path / "music", labels=("jazz", "rock"), per_label=3)
    os.mkfifo(tmp_path / "music" / "rock" / "pipe.wav")
    (tmp_path / "music" / "jazz" / "gone.wav").symlink_to(tmp_path / "nowhere")
    listed = [*paths, tmp_path / "music" / "rock" / "pipe.wav", tmp_path / "music" / "jazz" / "gone.wav"]
    rows = [f"{path.relative_to(tmp_path / 'music')},{path.parent.name}" for path in listed]
    (tmp_path / "music" / "tracks.csv").write_text("\n".join(["path,genre", *rows]))
    flags = (f"--input={tmp_path}/{pattern}", "--folds=2")
    assert status_of(job_module, *flags, f"--output={tmp_path}/out", "--max_reject_fraction=0.5") == 0
    found = {line["track_id"]: (line["reason"], line["detail"]) for line in read_rejects(tmp_path / "out")}
    expected = {
        "rock/pipe.wav": ("unreadable", "not a regular file"),
        "jazz/gone.wav": ("unreadable", "No such file or directory"),
    }
    assert found == expected
    assert status_of(audit_module, *flags, f"--output={tmp_path}/audit") == 0
    audited = json.loads((tmp_path / "audit" / "audit.json").read_text())["rejects"]
    assert {item["track_id"]: (item["reason"], item["detail"]) for item in audited} == expected


@pytest.mark.parametrize("name", ["x.csv", "x.tar", "x.tar.gz", "x"])
def test_a_pipe_in_place_of_an_input_is_one_line_and_status_2(tmp_path, capfd, name):
    os.mkfifo(tmp_path / name)
    for module in (job_module, audit_module):
        assert status_of(module, f"--input={tmp_path}/{name}", f"--output={tmp_path}/out") == 2
        errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert f"{tmp_path}/{name}: " in errors[0]
    assert not (tmp_path / "out").exists()
