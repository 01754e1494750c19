"""What a file is by its first bytes, whatever it is called."""

import pytest

from beam_preprocess.audio.formats import HEAD_BYTES, container_of, is_audio_content
from tests.beam_preprocess.audio.test_formats import FILES

# Zeros, the middle of a frame and the rare free format are no sign of music.
_UNKNOWN = {"mp3 with zeros before it", "mp3 from the middle of a frame", "mp3 of free format"}


@pytest.mark.parametrize("name", FILES)
def test_audio_is_known_by_its_content(name):
    data = FILES[name]()
    if data is None:
        pytest.skip("needs a program that is not installed")
    assert is_audio_content(data[:HEAD_BYTES]) == (name not in _UNKNOWN)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n" * 20,
        b"\xff\xfet\0e\0x\0t\0",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"PK\3\4",
        b"%PDF-1.7",
    ],
)
def test_what_is_no_audio_is_known_too(data):
    assert not is_audio_content(data)


def test_one_family_of_demuxers_is_asked_for():
    assert container_of(b"RIFF\0\0\0\0WAVEfmt ").demuxers == "wav"
    assert container_of(b"\0\0\0\x20ftypM4A ").demuxers == "mov"
    assert "mp3" in container_of(b"ID3\4").demuxers
