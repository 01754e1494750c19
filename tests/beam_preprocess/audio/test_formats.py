"""Files as people have them come out whole: each kind by its length and by its samples."""

import functools
import io

import numpy as np
import pytest

from beam_preprocess.audio import EXTENSIONS, Reject, decode
from tests.beam_preprocess.audio import audio_files
from tests.beam_preprocess.audio.audio_files import RATE, by_av, by_program, by_soundfile, music

_MP3 = functools.partial(by_av, "mp3", "libmp3lame", bit_rate=320_000)
_OGG = functools.partial(by_soundfile, "OGG", "VORBIS", compression_level=0.1)
_OPUS = functools.partial(by_av, "ogg", "libopus", rate=48_000, bit_rate=510_000)
_FLAC_TO_PIPE = ("ffmpeg", "-v", "error", "-i", "-", "-f", "flac", "-")

# Ending and content -> a function that makes the file, which holds the music once.
FILES = {
    "wav": lambda: by_soundfile("WAV", "PCM_16"),
    "wav 24 bits": lambda: by_soundfile("WAV", "PCM_24"),
    "wav floats": lambda: by_soundfile("WAV", "DOUBLE"),
    "wav extensible": lambda: by_soundfile("WAVEX", "PCM_16"),
    "wav with mp3 inside": lambda: by_av("wav", "libmp3lame", bit_rate=320_000),
    "rf64": lambda: by_soundfile("RF64", "PCM_16"),
    "w64": lambda: by_soundfile("W64", "PCM_16"),
    "aiff": lambda: by_soundfile("AIFF", "PCM_16"),
    "aifc": lambda: by_soundfile("AIFF", "FLOAT"),
    "caf": lambda: by_soundfile("CAF", "PCM_16"),
    "caf alac": lambda: by_av("caf", "alac"),
    "au": lambda: by_soundfile("AU", "PCM_16"),
    "flac": lambda: by_soundfile("FLAC", "PCM_16"),
    "flac 24 bits": lambda: by_soundfile("FLAC", "PCM_24"),
    "flac to a pipe": lambda: audio_files.without_flac_total(by_soundfile("FLAC", "PCM_16")),
    "flac to ffmpeg's pipe": lambda: by_program(*_FLAC_TO_PIPE),
    "flac 12 bits": lambda: by_program("sox", "-", "-C0", "-b12", "-t", "flac", "-"),
    "flac 20 bits": lambda: by_program("sox", "-", "-b20", "-t", "flac", "-"),
    "mp3": _MP3,
    "mp3 by soundfile": lambda: by_soundfile("MP3", "MPEG_LAYER_III", compression_level=0.1),
    "mp3 without a Xing frame": lambda: _MP3(options={"write_xing": "0"}),
    "mp3 of variable bit rate": lambda: by_program("lame", "--quiet", "-V2", "-", "-"),
    "mp3 of variable bit rate without a Xing frame": lambda: by_program("lame", "--quiet", "-V2", "-t", "-", "-"),
    "mp3 by sox": lambda: by_program("sox", "-", "-C", "320", "-t", "mp3", "-"),
    "mp3 of free format": lambda: by_program("lame", "--quiet", "--freeformat", "-b", "400", "-", "-"),
    "mp3 with zeros before it": lambda: bytes(100_000) + _MP3(),
    "mp3 from the middle of a frame": lambda: _MP3(options={"write_xing": "0"})[50:],
    "mp3 with a tag behind it": lambda: _MP3() + b"TAG" + bytes(125),
    "mp2": lambda: by_av("mp2", "mp2", bit_rate=256_000),
    "ogg": _OGG,
    "ogg without an end": lambda: audio_files.without_ogg_end(_OGG()),
    "oga flac": lambda: by_av("ogg", "flac"),
    "opus": _OPUS,
    "opus without an end": lambda: audio_files.without_ogg_end(_OPUS()),
    "m4a": lambda: by_av("ipod", "aac", bit_rate=192_000),
    "m4a alac": lambda: by_av("ipod", "alac"),
    "m4a in fragments": lambda: by_av("mp4", "aac", bit_rate=192_000, options={"movflags": "frag_keyframe+empty_moov"}),
    "mp4": lambda: by_av("mp4", "aac", bit_rate=192_000, options={"movflags": "faststart"}),
    "mov": lambda: by_av("mov", "aac", bit_rate=192_000),
    "3gp": lambda: by_av("3gp", "aac", bit_rate=192_000),
    "aac": lambda: by_av("adts", "aac", bit_rate=192_000),
    "wma": lambda: by_av("asf", "wmav2", bit_rate=192_000),
    "ac3": lambda: by_av("ac3", "ac3", bit_rate=256_000),
    "wv": lambda: by_av("wv", "wavpack"),
    "tta": lambda: by_av("tta", "tta"),
    "mka": lambda: by_av("matroska", "libopus", rate=48_000, bit_rate=510_000),
    "mkv flac": lambda: by_av("matroska", "flac"),
    "webm": lambda: by_av("webm", "libopus", rate=48_000, bit_rate=510_000),
    "wav by sox to a pipe": lambda: by_program("sox", "-", "-t", "wav", "-"),
    "aiff by sox to a pipe": lambda: by_program("sox", "-", "-t", "aiff", "-"),
    "wav by ffmpeg to a pipe": lambda: by_program("ffmpeg", "-v", "error", "-i", "-", "-f", "wav", "-"),
    "w64 by ffmpeg to a pipe": lambda: by_program("ffmpeg", "-v", "error", "-i", "-", "-f", "w64", "-"),
    "caf by ffmpeg to a pipe": lambda: by_program("ffmpeg", "-v", "error", "-i", "-", "-f", "caf", "-"),
    "rf64 by ffmpeg to a pipe": lambda: by_program(
        "ffmpeg", "-v", "error", "-i", "-", "-rf64", "always", "-f", "wav", "-"
    ),
    **{
        f"wav of {size:#x} bytes": functools.partial(audio_files.with_wav_length, size)
        for size in (0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFF)
    },
    **{
        f"aiff of {size:#x} bytes and {frames:#x} frames": functools.partial(audio_files.with_aiff_length, size, frames)
        for size in (0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF)
        for frames in (0, 0x7FFFFFFF, 0xFFFFFFFF)
    },
}
# Made of two files, each holding the music once.
JOINED = {
    "mp3": lambda: _MP3() + _MP3(),
    "mp3 without Xing frames": lambda: 2 * _MP3(options={"write_xing": "0"}),
    "mp3 with tags": lambda: 2 * _MP3(options={"id3v2_version": "3"}),
    "mp3 of two rates": lambda: _MP3() + _MP3(rate=32_000),
    "ogg": lambda: 2 * _OGG(),
    "ogg of two rates": lambda: _OGG() + _OGG(rate=22_050),
    "opus": lambda: 2 * _OPUS(),
    "oga flac": lambda: 2 * by_av("ogg", "flac"),
    "wav": lambda: by_soundfile("WAV", "PCM_16") + by_soundfile("WAV", "PCM_24"),
    "flac": lambda: 2 * by_soundfile("FLAC", "PCM_16"),
    "m4a": lambda: 2 * by_av("ipod", "alac"),
    "m4a of two kinds": lambda: by_av("ipod", "alac") + by_av("mp4", "alac", options={"movflags": "faststart"}),
    "webm": lambda: 2 * by_av("webm", "libopus", rate=48_000, bit_rate=510_000),
}


@pytest.fixture(params=[False, True], ids=["on this machine", "elsewhere"])
def read(request, tmp_path):
    """Decodes a file's bytes to [samples] float32 at RATE."""

    def read(data):
        limits = {"sample_rate": RATE, "min_samples": 1, "max_duration_s": 60.0}
        if request.param:
            return decode(io.BytesIO(data), **limits)
        (tmp_path / "file").write_bytes(data)
        with (tmp_path / "file").open("rb") as file:
            return decode(file, **limits)

    return read


def error_db(found, expected):
    """How far what was decoded is from the source, in dB of it, where the two fit best; both [samples]."""
    reach = RATE // 15
    inner = expected[reach:-reach]
    spectrum = np.fft.rfft(found, 2 * len(expected)) * np.fft.rfft(inner, 2 * len(expected)).conj()
    lag = int(np.fft.irfft(spectrum)[: 4 * reach].argmax())
    error = np.pad(found, (0, 4 * reach))[lag : lag + len(inner)] - inner
    return 10 * np.log10(np.dot(error, error) / np.dot(inner, inner) + 1e-20)


@pytest.mark.parametrize("name", FILES)
def test_a_file_comes_out_whole(name, read):
    data = FILES[name]()
    if data is None:
        pytest.skip("needs a program that is not installed")
    expected = music().mean(axis=1)
    found = read(data)
    assert abs(len(found) - len(expected)) <= 0.05 * RATE
    assert error_db(found, expected) < -40


@pytest.mark.parametrize("name", JOINED)
def test_of_joined_files_all_come_out(name, read):
    expected = music().mean(axis=1)
    found = read(JOINED[name]())
    assert abs(len(found) - 2 * len(expected)) <= 0.1 * RATE
    for half in np.array_split(found, 2):
        padded = np.pad(half, RATE // 20)
        assert error_db(padded, expected) < -40


def test_every_ending_that_is_listed_is_of_a_container_tested_here():
    tested = {name.split()[0] for name in FILES}
    same = {"wave": "wav", "bwf": "wav", "aif": "aiff", "snd": "au", "m4b": "m4a", "m4r": "m4a", "weba": "webm"}
    listed = {ending.removeprefix(".") for ending in EXTENSIONS}
    # No encoder of Monkey's Audio is to be had; tools.formats looks at real files.
    assert {same.get(ending, ending) for ending in listed} - tested == {"ape"}


@pytest.mark.parametrize("name", ["m4a", "mp4", "mov", "wma", "wv", "mka", "webm", "opus", "oga flac", "mp3", "tta"])
@pytest.mark.parametrize("fraction", [0.4, 0.9])
def test_a_file_that_was_cut_is_not_taken_for_whole(name, fraction, read):
    data = FILES[name]()
    with pytest.raises(Reject) as caught:
        read(data[: int(fraction * len(data))])
    assert caught.value.reason in ("truncated", "undecodable")


@pytest.mark.parametrize("fraction", [0.4, 0.9])
def test_an_m4a_cut_before_its_index_is_truncated(fraction, read):
    data = FILES["m4a"]()
    assert data.find(b"moov") > data.find(b"mdat")
    with pytest.raises(Reject) as caught:
        read(data[: int(len(data) * fraction)])
    assert caught.value.reason == "truncated"


def test_a_wma_with_something_behind_it_is_as_long_as_its_header_says(read):
    data = FILES["wma"]()
    np.testing.assert_array_equal(read(data + bytes(len(data) // 5)), read(data))


def test_of_a_cut_wma_the_length_in_its_header_is_told(read):
    data = FILES["wma"]()
    with pytest.raises(Reject, match=r"of 3.02 s") as caught:
        read(data[: len(data) // 2])
    assert caught.value.reason == "truncated"


def test_a_file_without_sound_and_a_name_of_another_kind():
    with pytest.raises(Reject, match=r"unsupported_format.*\.mid"):
        list(_stream(b"MThd\0\0\0\x06\0\x01\0\x02\0\x60MTrk" + bytes(500), "song.MID"))
    with pytest.raises(Reject, match="undecodable"):
        list(_stream(bytes(500), "song.mp3"))


def _stream(data, name):
    from beam_preprocess.audio import stream

    return stream(io.BytesIO(data), sample_rate=RATE, min_samples=1, max_duration_s=60.0, name=name)
