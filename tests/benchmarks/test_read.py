import json

import pytest

from benchmarks import read, readers
from benchmarks.shards import write_noise

PEERS = ("streaming", "grain", "webdataset", "datasets")


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """32 clips of one patch each."""
    path = tmp_path_factory.mktemp("noise") / "data"
    write_noise(path, clips=32, seconds=3, shards=4)
    return path


@pytest.mark.parametrize("name", ["scan", "float16", "float32", "in_memory", "tensor", "usual"])
def test_a_reader_gives_every_patch_of_its_epochs(noise, name):
    assert readers.READERS[name](noise)() == 32 * (1 if name == "usual" else readers.EPOCHS)


@pytest.mark.parametrize("name", PEERS)
def test_other_libraries_give_every_patch(noise, name):
    pytest.importorskip(name)
    assert readers.READERS[name](noise)() == 32


def test_a_library_that_is_not_installed_is_left_out(noise, tmp_path, monkeypatch, capsys):
    (tmp_path / "webdataset.py").write_text("raise ImportError('webdataset is not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    assert read.measure(noise, ["webdataset"], rounds=1) == {}
    assert capsys.readouterr().out == "webdataset is left out: ImportError: webdataset is not here\n"


def test_the_table_compares_with_the_scan():
    speeds = {
        "scan": read.Speeds([100_000.0, 300_000.0, 200_000.0], [9.0, 7.0, 8.0]),
        "float16": read.Speeds([150_000.0, 100_000.0, 160_000.0], [3.0, 4.0, 5.0]),
    }
    found = json.loads(read.as_json(read.table(speeds), "Reading", 3))
    assert found["rows"][1][1:] == ["150,000", "100,000 to 160,000", "0.75", "4.0 µs"]
    assert {len(row) for row in found["rows"]} == {len(found["columns"])}


@pytest.mark.slow
def test_it_prints_its_ratios(tmp_path, run):
    flags = ("--clips=32", "--seconds=5", "--shards=4", "--rounds=1", "--readers=scan,float16")
    printed = run(read, f"--work_dir={tmp_path}", f"--output={tmp_path / 'read.json'}", *flags)
    for figure in ("of the scan", "larger / smaller = ", "seconds to its first batch", "first batch after"):
        assert figure in printed
    assert len(json.loads((tmp_path / "read.json").read_text("utf-8"))["rows"]) == 2
