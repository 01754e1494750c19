import io
import tempfile
from email.message import Message

import pytest

from trainer.serving.web import upload
from trainer.serving.web.refusal import Refusal


def headers(*lengths, **others):
    message = Message()
    for length in lengths:
        message["Content-Length"] = length
    for name, value in others.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.fixture(params=["in memory", "on disk"])
def place(request, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if request.param == "on disk":
        monkeypatch.setattr(upload, "_IN_MEMORY_BYTES", 100)
    return tmp_path


def test_a_length_is_known_before_anything_is_read():
    assert upload.declared_bytes(headers("0"), 10) == 0
    assert upload.declared_bytes(headers("10"), 10) == 10


@pytest.mark.parametrize(
    ("given", "status", "reason"),
    [
        (headers("11"), 413, "too_large"),
        (headers("9" * 18), 413, "too_large"),
        (headers("9" * 5000), 400, "bad_length"),
        (headers(), 411, "no_length"),
        (headers("5", Transfer_Encoding="chunked"), 411, "no_length"),
        (headers("5", "6"), 400, "bad_length"),
        (headers("-1"), 400, "bad_length"),
        (headers("5, 5"), 400, "bad_length"),
        (headers("٣"), 400, "bad_length"),
        (headers("1_0"), 400, "bad_length"),
    ],
)
def test_other_lengths_are_refused(given, status, reason):
    with pytest.raises(Refusal) as refused:
        upload.declared_bytes(given, 10)
    assert (refused.value.status, refused.value.reason) == (status, reason)


def test_a_file_arrives_as_it_was_and_leaves_nothing_behind(place):
    content = bytes(range(256)) * 3000
    with upload.received(io.BytesIO(content + b"the next"), len(content)) as file:
        assert list(place.iterdir()) == []
        assert file.read() == content
    assert file.closed and list(place.iterdir()) == []


def test_one_that_does_not_arrive_whole_is_refused(place):
    with pytest.raises(Refusal, match=r"broken_off.*300 of 400 bytes"), upload.received(io.BytesIO(bytes(300)), 400):
        pass


def test_nothing_is_an_empty_file():
    with upload.received(io.BytesIO(b"the next"), 0) as file:
        assert file.read() == b""


@pytest.mark.parametrize("length", [9, 1_000_000])
def test_a_temporary_directory_that_takes_nothing_is_told(no_temporary_files, monkeypatch, length):
    monkeypatch.setattr(upload, "_IN_MEMORY_BYTES", 0)
    told = pytest.raises(Refusal, match=f"no_room.*{no_temporary_files}")
    with told, upload.received(io.BytesIO(bytes(length)), length):
        pass
