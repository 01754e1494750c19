import json

import apache_beam as beam
import pytest

from beam_preprocess import engine, storage
from beam_preprocess.storage import OutputError, message_in, reading_from, writing_to
from tfrecords.common.command_line import UserError


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def output(tmp_path):
    storage.make_directories(storage.partial_dir(str(tmp_path / "out")))
    return tmp_path / "out"


def test_a_file_appears_when_it_is_whole(output):
    with storage.replacing(str(output), "shard") as file:
        file.write(b"first ")
        assert not (output / "shard").exists()
        file.write(b"second")
    assert names(output) == ["shard"]
    assert (output / "shard").read_bytes() == b"first second"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_old_file_stays_when_the_block_raises(output, error):
    (output / "shard").write_bytes(b"old")
    with pytest.raises(error), storage.replacing(str(output), "shard") as file:
        file.write(b"new")
        raise error
    assert names(output) == ["shard"]
    assert (output / "shard").read_bytes() == b"old"


def test_a_signal_leaves_no_temporary_file(output, end_by_signal):
    with pytest.raises(SystemExit), storage.replacing(str(output), "shard"):
        try:
            end_by_signal()
        finally:
            assert names(output) == []


def test_the_old_file_is_replaced(output):
    for text in ("old, and longer", "new"):
        storage.write_text(str(output), "manifest.json", text)
    assert (output / "manifest.json").read_text() == "new"
    assert names(output) == ["manifest.json"]


def test_two_writers_of_one_file_do_not_mix(output):
    with storage.replacing(str(output), "shard") as one, storage.replacing(str(output), "shard") as other:
        one.write(b"one")
        other.write(b"other")
    assert (output / "shard").read_bytes() == b"one"
    assert names(output) == ["shard"]


def test_text_is_utf8(output):
    storage.write_text(str(output), "text", "Á\n日本")
    assert (output / "text").read_bytes() == "Á\n日本".encode()
    assert storage.read_text(str(output / "text")) == "Á\n日本"


def test_no_file_has_no_text(output):
    assert storage.read_text(str(output / "missing")) is None


@pytest.mark.parametrize("name", ["a.gz", "a.bz2", "a.wav"])
def test_files_are_not_decompressed_by_their_names(output, name):
    storage.write_text(str(output), name, "plain")
    with storage.open_file(str(output / name)) as file:
        assert file.read() == b"plain"
    assert (output / name).read_bytes() == b"plain"


def test_make_directories_twice(tmp_path):
    for _ in range(2):
        storage.make_directories(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()


def test_delete_what_is_there(output):
    storage.write_text(str(output), "a", "")
    storage.write_text(str(output), "b", "")
    (output / ".partial" / "deep").mkdir()
    storage.delete([str(output / name) for name in ("a", "missing")])
    storage.delete_tree(str(output / ".partial"))
    assert sorted(path.name for path in output.iterdir()) == ["b"]
    storage.delete([])


def test_local_path(tmp_path):
    assert storage.local_path(str(tmp_path)) == tmp_path
    assert storage.local_path("gs://bucket/out") is None


def test_a_missing_file_is_missed_alike_everywhere(memory, tmp_path):
    for uri in (f"{tmp_path}/gone", "memory://bucket/gone"):
        with pytest.raises(OSError, match="No such file"), storage.open_file(uri):
            pass


def test_an_error_becomes_one_line():
    error = OSError(28, "No space left\n on device", "/x")
    with pytest.raises(UserError, match=r"^here: No space left on device$"), storage.reporting("here"):
        raise error


@pytest.mark.parametrize("error", [ValueError("bad path"), KeyError("name"), RuntimeError("unknown")])
def test_a_fault_of_ours_is_not_told_as_a_file_systems(error):
    with pytest.raises(type(error)) as info, storage.reporting("here"):
        raise error
    assert info.value is error


def test_a_line_for_the_user_stays_as_it_is():
    with pytest.raises(UserError, match=r"^mine$"), storage.reporting("here"):
        raise UserError("mine")


@pytest.fixture(params=["local", "in a store"])
def alike(request, tmp_path, memory):
    """A directory named like a glob, a directory that the glob matches, and a function that writes a file in both."""
    root = str(tmp_path) if request.param == "local" else "memory://bucket"

    def write(name, data):
        if request.param == "local":
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
        else:
            memory.write(f"memory://bucket/{name}", data)

    for folder in ("set[1]*", "set1", "set1x"):
        for name in ("a", "b", "deep/c"):
            write(f"{folder}/{name}", f"{folder} {name}".encode())
    return root


@pytest.mark.parametrize("folder", ["set[1]*", "set1", "set1/"])
def test_the_files_of_a_directory_and_their_sizes_whatever_its_name(alike, folder):
    size = len(f"{folder.rstrip('/')} a")
    assert storage.list_files(f"{alike}/{folder}") == {"a": size, "b": size}
    assert storage.size_of(f"{alike}/{folder.rstrip('/')}/a") == size
    assert storage.size_of(f"{alike}/{folder.rstrip('/')}/gone") is None
    assert storage.list_files(f"{alike}/gone") == {}


def test_what_a_name_would_match_is_not_deleted(tmp_path):
    names_like_globs = ("set[1]", "a*", "b?")
    for name in (*names_like_globs, "set1", "ab", "bc"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "deep[1]" / "er").mkdir(parents=True)
    storage.delete([str(tmp_path / name) for name in (*names_like_globs, "gone[1]")])
    storage.delete_tree(str(tmp_path / "deep[1]"))
    assert names(tmp_path) == ["ab", "bc", "set1"]
    assert not (tmp_path / "deep[1]").exists()


def test_a_link_is_deleted_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    storage.delete([str(tmp_path / "link")])
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_lines_are_read_as_they_are_asked_for(tmp_path, memory):
    (tmp_path / "plan[1]").write_bytes(b"one\n\n{}\nlast")
    memory.write("memory://bucket/plan", b"one\n\n{}\nlast")
    for uri in (str(tmp_path / "plan[1]"), "memory://bucket/plan"):
        assert list(storage.read_lines(uri)) == ["one", "", "{}", "last"]


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_the_launcher_finds_it_in_what_beam_makes_of_it(mode):
    def write(_):
        with writing_to('/a "b"\n{é}'):
            raise OSError(28, "No space left on device", "/x")

    def explain(text):
        raise UserError(message_in(text))

    options = engine.parse_options([f"--direct_running_mode={mode}"])
    with pytest.raises(UserError) as info:
        engine.run_pipeline(options, lambda job: job | beam.Create([1]) | beam.Map(write), explain=explain)
    assert str(info.value) == '/a "b"\n{é} cannot be written: No space left on device'


def test_the_last_one_counts_and_what_looks_like_one_does_not():
    first, last = (str(OutputError.of(where, OSError(28, "full"))) for where in ("/a", "/b"))
    assert message_in(f"{first}\nthen {last} [while running 'X']\nOSError: [Errno 5] other") == "/b: full"
    assert message_in(f"{first} {last[:-3]}") == "/a: full"
    assert message_in(first.replace(json.dumps("reason"), '"other"')) is None
    assert message_in("OSError: [Errno 28] No space left [while running 'WriteShard']") is None


def test_reading_is_told_as_such():
    with pytest.raises(OutputError) as info, reading_from("/out/plan.jsonl"):
        raise PermissionError(13, "Permission denied", "/x")
    assert message_in(str(info.value)) == "/out/plan.jsonl cannot be read: Permission denied"


def test_a_fault_of_ours_stays_what_it_is():
    with pytest.raises(KeyError), writing_to("/a"):
        raise KeyError("name")
