import pytest

from tools.audio_mutants import SEEDS, whole
from tools.audio_units import unit_name

BEGINNINGS = {"ogg vorbis": b"OggS", "mp3, no length": b"\xff\xfb", "aac": b"\xff\xf1"}


@pytest.mark.parametrize("name", SEEDS)
def test_parts_are_in_order_and_the_last_ends_with_the_file(name):
    file = whole(name)
    assert len(file.units) > 3
    assert sorted(file.units, key=lambda unit: unit.start) == list(file.units)
    assert max(unit.stop for unit in file.units) == len(file.data)


@pytest.mark.parametrize("name", BEGINNINGS)
def test_parts_begin_where_they_should(name):
    file = whole(name)
    # What FFmpeg writes last into AAC is a frame of less than its flags.
    assert all(file.data[unit].startswith(BEGINNINGS[name]) for unit in file.units)


def test_boxes_hold_boxes():
    file = whole("m4a")
    kinds = [file.data[unit][4:8] for unit in file.units]
    assert kinds[:4] == [b"ftyp", b"free", b"mdat", b"moov"]
    assert {b"mdhd", b"stsz", b"mp4a"} <= set(kinds)
    assert (unit_name("mp4"), unit_name("ogg"), unit_name("mp3")) == ("box", "page", "packet")
