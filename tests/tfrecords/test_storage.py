import io
import itertools
import subprocess
import sys

import pytest

from tfrecords import storage


@pytest.fixture(params=["memory", "path", "file"])
def root(request, tmp_path):
    """A directory, as each kind of location that needs no server."""
    if request.param == "memory":
        from tfrecords import object_store

        object_store.forget_memory()
        return "memory://bucket/data"
    return str(tmp_path / "data") if request.param == "path" else f"file://{tmp_path}/data"


def test_whole_files(root):
    name = storage.join(root, "below", "ä b#%20.bin")
    assert storage.size(name) is None
    assert not storage.exists(root)
    assert storage.list_files(root) == {}
    storage.write(name, b"one")
    storage.write(name, b"seven")
    assert storage.read(name) == b"seven"
    assert storage.size(name) == 5
    assert storage.exists(storage.join(root, "below"))
    assert storage.is_directory(root)
    assert not storage.is_directory(name)
    storage.write_text(storage.join(root, "text"), "ü")
    assert storage.read_text(storage.join(root, "text")) == "ü"
    assert storage.list_files(root) == {"text": 2}
    assert [size for _, size in storage.walk(root)] == [5, 2]
    assert storage.read(next(storage.walk(root))[0]) == b"seven"


def test_a_file_appears_when_it_is_whole(root):
    name = storage.join(root, "file")
    storage.write(name, b"before")
    with pytest.raises(ValueError, match="in the middle"), storage.writing(name) as file:
        file.write(b"half")
        raise ValueError("in the middle")
    assert storage.read(name) == b"before"
    assert storage.list_files(root) == {"file": 6}


def test_missing_files(root):
    name = storage.join(root, "file")
    for read in (storage.open_file, storage.read, storage.identity, lambda name: storage.read_range(name, 0, 1)):
        with pytest.raises(FileNotFoundError):
            read(name)
    storage.delete([name])
    storage.delete_tree(root)


def test_ranges(root):
    data = bytes(range(256)) * 100
    name = storage.join(root, "file")
    storage.write(name, data)
    assert storage.read_range(name, 5, 9) == data[5:9]
    assert storage.read_range(name, 7, 7) == b""
    ranges = [(start, start + 700) for start in range(0, 20_000, 999)]
    found = storage.read_ranges(name, iter(ranges), in_flight=3)
    assert [bytes(each) for each in found] == [data[start:end] for start, end in ranges]
    with pytest.raises(OSError, match="ends at byte 25600, before 25601"):
        storage.read_range(name, 25_000, 25_601)


@pytest.mark.parametrize("size", [0, 1, 1000, 1023, 1024, 1025, 40_000])
def test_an_open_file_reads_as_one_of_this_machine(root, size, monkeypatch):
    monkeypatch.setattr(storage, "_BLOCK_BYTES", 1024)
    data = bytes(number * number % 251 for number in range(size))
    name = storage.join(root, "file")
    storage.write(name, data)
    with storage.open_file(name) as file:
        assert file.read() == data
        assert file.seek(0, io.SEEK_END) == size
        assert file.read(1) == b""
        for begin, length in itertools.product((0, size // 3, size - 5), (1, 700, 5000)):
            file.seek(max(0, begin))
            assert file.read(length) == data[max(0, begin) :][:length]
        file.seek(0)
        assert b"".join(iter(lambda: file.read(317), b"")) == data


def test_an_object_that_is_replaced_while_it_is_read(monkeypatch):
    monkeypatch.setattr(storage, "_BLOCK_BYTES", 1024)
    storage.write("memory://bucket/file", bytes(100_000))
    with storage.open_file("memory://bucket/file") as file:
        assert file.read(10) == bytes(10)
        storage.write("memory://bucket/file", bytes(100_001))
        with pytest.raises(OSError, match="replaced while it was read"):
            file.read(90_000)


def test_copy_and_delete(root, tmp_path):
    name, other = storage.join(root, "a"), storage.join(root, "below", "b")
    storage.write(name, b"data")
    storage.copy(name, other)
    storage.copy(other, tmp_path / "c")
    storage.copy(tmp_path / "c", "memory://elsewhere/d")
    assert storage.read("memory://elsewhere/d") == b"data"
    storage.delete([name])
    assert storage.read(other) == b"data"
    storage.delete_tree(root)
    assert not storage.exists(root)


def test_only_one_creates_a_file(root):
    storage.make_directories(root)
    name = storage.join(root, "lock")
    assert storage.create(name, b"one")
    assert not storage.create(name, b"two")
    assert storage.read(name) == b"one"


def test_download(tmp_path):
    for name in ("a", "below/b", "below/deeper/c"):
        storage.write(f"memory://bucket/job/{name}", name.encode())
    storage.write("memory://bucket/jobs", b"another")
    storage.download("memory://bucket/job", tmp_path, only=lambda name: name != "below/b")
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {
        "a",
        "below/deeper/c",
    }


@pytest.mark.parametrize(
    ("location", "message"),
    [("ftp://host/data", "ftp:// is not known"), ("memory://", "names no bucket"), ("gs:///data", "names no bucket")],
)
def test_urls_that_name_nothing(location, message):
    with pytest.raises(OSError, match=message):
        storage.read(location)


def test_paths_need_no_library_of_stores(tmp_path):
    program = (
        "import sys; from tfrecords import storage; storage.write(sys.argv[1], b'a'); storage.list_files('.');"
        "print(sorted({'obstore', 'tensorflow', 'boto3'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", program, tmp_path / "file"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_forked_process_is_refused_and_does_not_wait_for_ever():
    program = (
        "import os; from tfrecords import storage; storage.write('memory://bucket/a', b'')\n"
        "if not os.fork():\n"
        "    try: storage.read('memory://bucket/a')\n"
        "    except OSError as error: print(error.strerror, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "start it by spawn" in done.stdout
