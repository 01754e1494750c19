import errno
import io
import os
import struct

import librosa
import numpy as np
import pytest
import soundfile

from beam_preprocess.audio import REASONS, Reject, decode, stream
from beam_preprocess.audio.formats import HEAD_BYTES

RATE = 22050
# file format, libsndfile's name of the encoding, least correlation with the original.
FORMATS = {
    "wav16": ("WAV", "PCM_16", 0.99999),
    "wav24": ("WAV", "PCM_24", 0.99999),
    "wavfloat": ("WAV", "FLOAT", 0.99999),
    "wav8": ("WAV", "PCM_U8", 0.999),
    "wavex": ("WAVEX", "PCM_16", 0.99999),
    "au": ("AU", "PCM_16", 0.99999),
    "flac": ("FLAC", "PCM_16", 0.99999),
    "aiff": ("AIFF", "PCM_16", 0.99999),
    "mp3": ("MP3", "MPEG_LAYER_III", 0.98),
    "ogg": ("OGG", "VORBIS", 0.98),
}


def signal(rate, seconds=1.0, channels=1):
    """A melody of low tones, other amplitudes in each channel: no codec or resampler has reason to drop any of it."""
    time_s = np.arange(round(rate * seconds)) / rate
    tones = sum(np.sin(2 * np.pi * hz * time_s + phase) for hz, phase in ((220, 0), (550, 1), (1210, 2)))
    mono = 0.2 * tones * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time_s))
    levels = np.linspace(1, 0.5, channels)
    return (mono[:, np.newaxis] * levels).astype(np.float32)


def encoded(name, waveform=None, rate=RATE):
    container, subtype, _ = FORMATS[name]
    file = io.BytesIO()
    soundfile.write(file, signal(rate) if waveform is None else waveform, rate, format=container, subtype=subtype)
    return file.getvalue()


def read(data, *, sample_rate=RATE, min_samples=1, max_duration_s=60.0):
    return decode(io.BytesIO(data), sample_rate=sample_rate, min_samples=min_samples, max_duration_s=max_duration_s)


def reject_of(data, **limits):
    with pytest.raises(Reject) as caught:
        read(data, **limits)
    assert caught.value.reason in REASONS
    assert caught.value.detail
    return caught.value


def reason_of(data, **limits):
    return reject_of(data, **limits).reason


# MP3 has at most two channels.
@pytest.mark.parametrize(
    ("name", "channels"),
    [(name, channels) for name in FORMATS for channels in (1, 2, 6) if (name, channels) != ("mp3", 6)],
)
@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_length_and_content(name, rate, channels):
    waveform = signal(rate, 1.0, channels)
    found = read(encoded(name, waveform, rate))
    expected = signal(RATE).ravel() * (1 if channels == 1 else 0.75)
    assert found.dtype == np.float32
    assert abs(len(found) - RATE) <= (3 * 1152 * RATE / rate if name == "mp3" else 1)
    # A codec may shift the signal by a frame or so; the level says whether channels were averaged, not added.
    length = min(len(found), RATE) - 4000
    lags = np.correlate(found[2000 : 2000 + length + 2000], expected[2000 : 2000 + length], "valid")
    lag = 2000 + int(lags.argmax())
    part, original = found[lag : lag + length], expected[2000 : 2000 + length]
    assert np.corrcoef(part[:length], original[: len(part)])[0, 1] >= FORMATS[name][2]
    assert np.std(part) == pytest.approx(np.std(original), rel=0.1)


@pytest.mark.parametrize("name", [name for name, (_, subtype, _) in FORMATS.items() if subtype == "PCM_16"])
def test_16_bits_are_the_same_floats_as_libsndfiles(name):
    values = np.arange(-(1 << 15), 1 << 15).astype(np.int16)
    data = encoded(name, np.stack([values, values], axis=1))
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_array_equal(read(data), expected[:, 0])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [22050, 44100])
@pytest.mark.parametrize("name", ["wav16", "wav24", "flac"])
def test_the_same_as_librosa(name, rate, channels):
    data = encoded(name, signal(rate, channels=channels), rate)
    expected, _ = librosa.load(io.BytesIO(data), sr=RATE)
    np.testing.assert_allclose(read(data), expected, atol=1e-5)


def test_what_is_no_audio():
    assert reason_of(b"this is text, whatever its name says\n" * 50) == "undecodable"


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes(seed):
    assert reason_of(np.random.default_rng(seed).bytes(5000)) == "undecodable"


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.9, 0.98, 0.999])
@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("flac", "mp3")])
def test_truncated(name, fraction):
    data = encoded(name)
    # An Ogg stream begins with the codec's tables, without which nothing can be decoded.
    expected = "undecodable" if name == "ogg" and fraction < 0.6 else "truncated"
    assert reason_of(data[: int(len(data) * fraction)]) == expected


@pytest.mark.parametrize("lost", [1, 20, 300])
def test_an_ogg_stream_whose_last_page_lost_its_end(lost):
    assert reason_of(encoded("ogg")[:-lost]) == "truncated"


def test_an_ogg_stream_with_something_behind_it():
    data = encoded("ogg")
    np.testing.assert_array_equal(read(data + b"\0" * 500), read(data))


@pytest.mark.parametrize("name", ["flac", "mp3"])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 0.9])
def test_truncated_streams_are_never_taken_for_whole(name, fraction):
    data = encoded(name)
    assert reason_of(data[: int(len(data) * fraction)]) in ("truncated", "undecodable")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -3e38])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.filterwarnings("error")
def test_not_finite(value, channels):
    waveform = signal(RATE, channels=channels)
    waveform[777, 0] = value
    assert reason_of(encoded("wavfloat", waveform)) == "not_finite"


@pytest.mark.filterwarnings("error")
def test_channels_that_cancel_to_nan():
    waveform = signal(RATE, channels=2)
    waveform[5] = np.inf, -np.inf
    assert reason_of(encoded("wavfloat", waveform)) == "not_finite"


def test_float_audio_beyond_full_scale_is_kept():
    waveform = signal(RATE) * 32768
    np.testing.assert_allclose(read(encoded("wavfloat", waveform)), waveform.ravel())


@pytest.mark.parametrize("name", ["wav16", "au", "aiff"])
def test_a_header_without_samples(name):
    assert reason_of(encoded(name, np.zeros((0, 1), np.float32))) == "empty"


def test_a_file_without_one_byte(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (tmp_path / "file").open("rb") as on_disk:
        for file in (on_disk, io.BytesIO()):
            with pytest.raises(Reject) as caught:
                decode(file, sample_rate=RATE, min_samples=1, max_duration_s=60.0)
            assert (caught.value.reason, caught.value.detail) == ("empty", "0 bytes")


def test_a_file_is_read_from_its_start_wherever_it_stands(tmp_path):
    (tmp_path / "file").write_bytes(encoded("wav16"))
    with (tmp_path / "file").open("rb") as file:
        file.read(1)
        found = decode(file, sample_rate=RATE, min_samples=1, max_duration_s=60.0)
    np.testing.assert_array_equal(found, read(encoded("wav16")))


class Failing(io.BytesIO):
    """A file of a disk or a store that fails at and after a byte."""

    def __init__(self, data, fails_at, error):
        super().__init__(data)
        self.fails_at = fails_at
        self.error = error

    def read(self, size=-1):
        if size < 0 or self.tell() + size > self.fails_at:
            raise self.error
        return super().read(size)


@pytest.mark.parametrize("fraction", [0, 0.5, 0.99])
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_cannot_be_read_to_its_end_is_not_taken_for_a_truncated_one(name, fraction):
    data = encoded(name)
    file = Failing(data, fraction * len(data), OSError(errno.EIO, "Input/output error"))
    with pytest.raises(Reject) as caught:
        decode(file, sample_rate=RATE, min_samples=1, max_duration_s=60.0)
    assert (caught.value.reason, caught.value.detail) == ("unreadable", "Input/output error")


def test_a_disk_that_fails_where_a_decoder_reads_by_itself(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"what no decoder can make out")

    def failing_pread(descriptor, size, offset):
        if size > HEAD_BYTES:
            raise OSError(errno.EIO, "Input/output error")
        return pread(descriptor, size, offset)

    pread = os.pread
    monkeypatch.setattr(os, "pread", failing_pread)
    with (tmp_path / "file").open("rb") as file, pytest.raises(Reject, match=r"unreadable.*Input/output error"):
        decode(file, sample_rate=RATE, min_samples=1, max_duration_s=60.0)


@pytest.mark.parametrize("name", ["wav16", "wav24", "flac"])
def test_where_one_decoder_fails_the_other_goes_on(tmp_path, monkeypatch, name):
    (tmp_path / "file").write_bytes(encoded(name, signal(RATE, 60)))
    reads = soundfile.SoundFile.read
    blocks = []

    def failing_read(self, *args, **kwargs):
        if blocks:
            raise soundfile.LibsndfileError(2)
        blocks.append(reads(self, *args, **kwargs))
        return blocks[0]

    with (tmp_path / "file").open("rb") as file:
        expected = decode(file, sample_rate=RATE, min_samples=1, max_duration_s=60.0)
        monkeypatch.setattr(soundfile.SoundFile, "read", failing_read)
        found = decode(file, sample_rate=RATE, min_samples=1, max_duration_s=60.0)
    assert len(blocks[0]) < len(expected)
    np.testing.assert_array_equal(found, expected)


def test_an_error_of_a_stores_own_library_goes_to_the_engine():
    data = encoded("wav16")
    with pytest.raises(RuntimeError, match="503"):
        decode(Failing(data, len(data) // 2, RuntimeError("503")), sample_rate=RATE, min_samples=1, max_duration_s=60.0)


@pytest.mark.parametrize(("samples", "accepted"), [(1000, True), (999, False)])
def test_too_short(samples, accepted):
    data = encoded("wav16", signal(RATE)[:samples])
    if accepted:
        assert len(read(data, min_samples=1000)) == samples
    else:
        assert reason_of(data, min_samples=1000) == "too_short"


def test_too_short_counts_samples_after_resampling():
    data = encoded("wav16", signal(44100)[:1998], 44100)
    assert reason_of(data, min_samples=1000) == "too_short"
    assert len(read(data, min_samples=999)) == 999


@pytest.mark.parametrize(("samples", "accepted"), [(RATE // 2, True), (RATE // 2 + 1, False), (40 * RATE, False)])
def test_too_long(samples, accepted):
    data = encoded("flac", np.zeros((samples, 2), np.float32))
    if accepted:
        assert len(read(data, max_duration_s=0.5)) == samples
    else:
        assert reason_of(data, max_duration_s=0.5) == "too_long"


@pytest.mark.parametrize("rate", [1, 999, 384_001, 2_000_000_000])
def test_unsupported_rate(rate):
    data = bytearray(encoded("wav16"))
    data[24:28] = struct.pack("<I", rate)
    assert reason_of(bytes(data)) == "unsupported_rate"


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0])
def test_a_wav_streamed_without_its_length(size):
    data = bytearray(encoded("wav16"))
    assert data[36:40] == b"data"
    data[4:8] = data[40:44] = struct.pack("<I", size)
    np.testing.assert_array_equal(read(bytes(data)), read(encoded("wav16")))


def test_an_au_streamed_without_its_length():
    data = bytearray(encoded("au"))
    data[8:12] = b"\xff" * 4
    np.testing.assert_array_equal(read(bytes(data)), read(encoded("au")))


def test_a_chunk_behind_the_audio_is_no_audio():
    data = bytearray(encoded("wav16")) + b"LIST" + struct.pack("<I", 26) + b"INFOIART\x0e\0\0\0Some Artist.\0\0"
    data[4:8] = struct.pack("<I", len(data) - 8)
    np.testing.assert_array_equal(read(bytes(data)), read(encoded("wav16")))


def mutated(data, rng):
    data = bytearray(data)
    # Headers are short beside audio: half of the damage is done to them.
    end = min(len(data), 200) if rng.random() < 0.5 else len(data)
    kind = rng.integers(4)
    if kind == 0:
        for position in rng.integers(end, size=rng.integers(1, 9)):
            data[position] ^= 1 << rng.integers(8)
    elif kind == 1:
        del data[rng.integers(len(data)) :]
    elif kind == 2:
        start, length = rng.integers(end), rng.integers(1, 300)
        data[start : start + length] = bytes(len(data[start : start + length]))
    else:
        for position in rng.integers(end, size=4):
            data[position] = rng.choice([0, 0x7F, 0x80, 0xFF])
    return bytes(data)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_files_give_a_waveform_or_a_reject(name):
    rng = np.random.default_rng(FORMATS[name][1].encode()[-1])
    data = encoded(name, signal(RATE, 0.5))
    outcomes = set()
    for _ in range(16):
        try:
            waveform = read(mutated(data, rng), max_duration_s=5)
        except Reject as reject:
            assert reject.reason in REASONS
            outcomes.add(reject.reason)
        else:
            assert waveform.dtype == np.float32
            assert waveform.ndim == 1
            # A damaged rate can stretch it, within the limit.
            assert 1 <= len(waveform) <= 5 * RATE + 1
            assert np.isfinite(waveform).all()
            outcomes.add("accepted")
    assert outcomes - {"accepted"}


def test_an_extension_that_is_not_read_is_the_reason():
    def names(data, name):
        return list(stream(io.BytesIO(data), sample_rate=RATE, min_samples=1, max_duration_s=60.0, name=name))

    with pytest.raises(Reject, match=r"unsupported_format.*\.mid"):
        names(b"MThd\0\0\0\x06\0\x01\0\x02\0\x60MTrk" + bytes(500), "song.MID")
    with pytest.raises(Reject, match="undecodable"):
        names(bytes(500), "song.mp3")
