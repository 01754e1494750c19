import io
import tempfile

import pytest

from beam_preprocess.audio import NoRoom
from beam_preprocess.audio.source import _BLOCK_BYTES, Source


def test_words_are_found_in_order_and_once_wherever_blocks_end():
    places = [0, 7, _BLOCK_BYTES - 4, _BLOCK_BYTES - 1, _BLOCK_BYTES + 3, 2 * _BLOCK_BYTES, 2 * _BLOCK_BYTES + 3]
    data = bytearray(2 * _BLOCK_BYTES + 6)
    for number, place in enumerate(places):
        data[place : place + 3] = (b"ABC", b"XYZ")[number % 2]
    assert list(Source(io.BytesIO(data)).find_all(b"ABC", b"XYZ")) == places
    assert list(Source(io.BytesIO(data)).find_all(b"XYZ")) == places[1::2]
    assert not list(Source(io.BytesIO(b"")).find_all(b"ABC"))


@pytest.mark.parametrize(
    ("place", "words"), [("/dev/full", "No space left on device"), ("/nowhere/x", "No such file or directory")]
)
def test_what_the_temporary_directory_does_not_take_is_told_apart(monkeypatch, place, words):
    def temporary_file(**how):
        return open(place, "r+b", **how)  # noqa: PTH123

    monkeypatch.setattr(tempfile, "TemporaryFile", temporary_file)
    with pytest.raises(NoRoom) as refused, Source(io.BytesIO(b"x" * 9)).part():
        pass
    assert (refused.value.reason, refused.value.detail) == ("unreadable", f"the temporary directory: {words}")


def test_a_copy_holds_all_that_is_asked_for(tmp_path):
    data = bytes(range(256)) * 9000
    with Source(io.BytesIO(data)).part(7, len(data) - 5) as part:
        assert part.read_at(0, len(data)) == data[7:-5]
        assert part.descriptor is not None
