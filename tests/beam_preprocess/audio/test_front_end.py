import dataclasses
import itertools
import json
import pickle
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_preprocess.audio.front_end import (
    PRESETS,
    WINDOWS,
    FrontEnd,
    FrontEndConfig,
    band_centres_hz,
    segment_lengths,
)
from tfrecords.common.command_line import UserError

GOLDEN = Path(__file__).parent / "golden"
RATE = 22050


@pytest.fixture(scope="module")
def paper():
    return FrontEnd(PRESETS["cbmi2016"])


@pytest.fixture(scope="module")
def decibels():
    return FrontEnd(PRESETS["librosa"])


def slaney_filters(bins_hz, n_mels, fmin_hz, fmax_hz):
    """Triangles of unit area on Slaney's scale: linear to 1000 Hz (15 mel), then 27 mel for each factor of 6.4."""

    def to_mel(hz):
        return 3 * hz / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)

    def to_hz(mel):
        return 200 * mel / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    edges = [to_hz(mel) for mel in np.linspace(to_mel(fmin_hz), to_mel(fmax_hz), n_mels + 2)]
    filters = np.zeros((len(bins_hz), n_mels))
    for band, (low, centre, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        for position, hz in enumerate(bins_hz):
            if low < hz < high:
                rising = (hz - low) / (centre - low) if hz <= centre else (high - hz) / (high - centre)
                filters[position, band] = rising * 2 / (high - low)
    return filters


def blackman_harris(turn):
    return 0.44959 - 0.49364 * np.cos(turn) + 0.05677 * np.cos(2 * turn)


def hann(turn):
    return 0.5 - 0.5 * np.cos(turn)


def reference(waveform, *, length=1024, hop=512, n_mels=40, rate=RATE, window=blackman_harris):
    """A front end with log10 compression, by default the paper's, written out in float64, one formula after another."""
    window = window(2 * np.pi * np.arange(length) / length)
    bins = np.arange(length // 2 + 1)
    transform = np.exp(-2j * np.pi * np.outer(bins, np.arange(length)) / length)
    filters = slaney_filters(bins * rate / length, n_mels, 0, rate / 2)
    rows = []
    for centre in range(0, len(waveform) + 1, hop):
        frame = np.zeros(length)
        for position in range(length):
            sample = centre - length // 2 + position
            if 0 <= sample < len(waveform):
                frame[position] = waveform[sample]
        power = np.abs(transform @ (frame * window)) ** 2
        rows.append(np.log10(1 + 10000 * (power @ filters)))
    return np.array(rows)


# By preset, its formulas' parameters in `reference`.
FORMULAS = {"cbmi2016": {}, "musicnn": {"length": 512, "hop": 256, "n_mels": 96, "rate": 16000, "window": hann}}


def golden_waveform(rate=RATE):
    """A loud tone that stops, noise that fades, silence: 0.5 s."""
    rng = np.random.default_rng(2016)
    time_s = np.arange(rate // 2) / rate
    tone = 0.6 * np.sin(2 * np.pi * 1000 * time_s) * (time_s < 0.2)
    noise = 0.3 * rng.normal(size=len(time_s)) * np.clip(1 - time_s / 0.4, 0, 1) ** 2
    return (tone + noise).astype(np.float32)


def write_golden():
    for preset, formulas in FORMULAS.items():
        values = reference(golden_waveform(PRESETS[preset].sample_rate).astype(np.float64), **formulas)
        text = json.dumps(values.round(6).tolist()).replace("], [", "],\n[") + "\n"
        (GOLDEN / f"{preset}.json").write_text(text, "ascii")


def signals():
    rng = np.random.default_rng(5)
    samples = 2 * RATE
    time_s = np.arange(samples) / RATE
    noise = rng.normal(size=samples)

    def low_passed(order, hz):
        return scipy.signal.sosfilt(scipy.signal.butter(order, hz, fs=RATE, output="sos"), noise)

    return {
        "noise": 0.1 * noise,
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time_s),
        "steep": low_passed(8, 300) + 0.9 * np.sin(2 * np.pi * 100 * time_s),
        "very_steep": 0.1 * low_passed(20, 200) + 0.7 * np.sin(2 * np.pi * 60 * time_s),
        "fade_to_digital_silence": 0.3 * noise * np.clip(1 - time_s, 0, None),
        "chirp": 0.5 * scipy.signal.chirp(time_s, 50, 2, 10000),
        "clicks": (np.arange(samples) % 7001 == 0).astype(float),
        "offset": 0.5 + 1e-4 * noise,
        "quiet": 1e-4 * noise,
        "silence": np.zeros(samples),
    }


@pytest.mark.parametrize("name", signals())
def test_the_papers_front_end_equals_its_formulas(paper, name):
    waveform = signals()[name][:8000].astype(np.float32)
    np.testing.assert_allclose(paper(waveform), reference(waveform.astype(np.float64)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("preset", FORMULAS)
def test_golden_files(preset):
    expected = np.array(json.loads((GOLDEN / f"{preset}.json").read_text("ascii")))
    found = FrontEnd(PRESETS[preset])(golden_waveform(PRESETS[preset].sample_rate))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", signals())
def test_the_librosa_preset_equals_librosa(decibels, name):
    waveform = signals()[name].astype(np.float32)
    mel = librosa.feature.melspectrogram(y=waveform, sr=RATE)
    expected = librosa.power_to_db(mel, ref=1, amin=1e-10, top_db=None).T
    found = decibels(waveform)
    assert found.shape == expected.shape
    error = np.abs(found - expected)
    loud = expected >= expected.max() - 80
    assert error[loud].max() <= 1e-3
    assert error[~loud].max(initial=0) <= 0.05


@pytest.mark.parametrize("name", signals())
def test_the_musicnn_preset_equals_librosa_also_where_the_published_code_overflows(name):
    # Mel powers above 65,504, float16's largest number.
    waveform = 50 * signals()[name].astype(np.float32)
    mel = librosa.feature.melspectrogram(y=waveform, sr=16000, n_fft=512, hop_length=256, n_mels=96)
    found = FrontEnd(PRESETS["musicnn"])(waveform)
    # Both transform in float32, whose rounding shows in quiet frames beside so loud ones.
    np.testing.assert_allclose(found, np.log10(1 + 1e4 * mel.astype(np.float64).T), rtol=0, atol=2e-3)


def test_filters_are_librosas_and_the_window_is_periodic(paper):
    np.testing.assert_allclose(paper.filters, slaney_filters(np.arange(513) * RATE / 1024, 40, 0, RATE / 2), atol=1e-8)
    assert paper.window[512] == pytest.approx(1.0)
    np.testing.assert_allclose(paper.window[1:], paper.window[:0:-1], atol=1e-12)
    assert paper.window[0] == pytest.approx(0.44959 - 0.49364 + 0.05677)


@pytest.mark.parametrize(("n_mels", "band_hz"), [(40, (0, 11025)), (128, (27.5, 8000)), (5, (1500, 6000))])
@pytest.mark.parametrize("window", WINDOWS)
def test_windows_are_scipys_and_filters_librosas(window, n_mels, band_hz):
    low, high = band_hz
    found = FrontEnd(FrontEndConfig(frame_length=2048, window=window, n_mels=n_mels, fmin_hz=low, fmax_hz=high))
    terms = (0.44959, 0.49364, 0.05677)
    if window == "blackman_harris_62db":
        expected = scipy.signal.windows.general_cosine(2048, terms, sym=False)
    else:
        expected = scipy.signal.get_window(window, 2048)
    np.testing.assert_allclose(found.window, expected, rtol=0, atol=1e-15)
    filters = librosa.filters.mel(sr=RATE, n_fft=2048, n_mels=n_mels, fmin=low, fmax=high)
    np.testing.assert_allclose(found.filters, filters.T, rtol=1e-6, atol=1e-9)


def test_it_is_built_without_the_libraries_that_take_long_to_import():
    code = """
import sys
from beam_preprocess.audio.front_end import PRESETS, FrontEnd
FrontEnd(PRESETS["musicnn"])
assert not {"librosa", "scipy.signal"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("window", ["hann", "hamming", "blackman"])
def test_other_windows_are_librosas(window):
    config = FrontEndConfig(window=window)
    waveform = signals()["noise"].astype(np.float32)
    mel = librosa.feature.melspectrogram(y=waveform, sr=RATE, n_fft=1024, hop_length=512, window=window, n_mels=40)
    np.testing.assert_allclose(FrontEnd(config)(waveform), np.log10(1 + 1e4 * mel.T), atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(0, 9000),
    config=st.sampled_from(
        [
            FrontEndConfig(n_mels=4, frame_length=1024, hop_length=512),
            FrontEndConfig(n_mels=4, frame_length=1024, hop_length=1024, compression="db"),
            FrontEndConfig(n_mels=4, frame_length=1023, hop_length=100),
            FrontEndConfig(n_mels=2, frame_length=255, hop_length=255, compression="db"),
        ]
    ),
)
def test_number_of_frames(samples, config):
    front_end = FrontEnd(config)
    waveform = np.linspace(-1, 1, samples, dtype=np.float32)
    log_mel = front_end(waveform)
    assert log_mel.shape == (1 + samples // config.hop_length, config.n_mels)
    assert log_mel.dtype == np.float32
    assert np.isfinite(log_mel).all()


@pytest.mark.parametrize("frames", [1, 2, 80])
def test_min_samples_is_the_shortest_waveform_with_so_many_frames(paper, frames):
    assert len(paper(np.zeros(paper.min_samples(frames), np.float32))) == frames
    if frames > 1:
        assert len(paper(np.zeros(paper.min_samples(frames) - 1, np.float32))) == frames - 1


def test_silence_is_the_lowest_value(paper, decibels):
    silence = np.zeros(5000, np.float32)
    np.testing.assert_array_equal(paper(silence), np.zeros((10, 40)))
    np.testing.assert_allclose(decibels(silence), np.full((10, 128), -100.0), atol=1e-4)


@pytest.mark.parametrize("length", [1023, 1024])
def test_one_sample_lies_in_the_middle_of_the_first_frame(length):
    front_end = FrontEnd(FrontEndConfig(frame_length=length, n_mels=8))
    found = front_end(np.array([0.5], np.float32))
    power = (0.5 * front_end.window[length // 2]) ** 2
    np.testing.assert_allclose(found, [np.log10(1 + 1e4 * power * front_end.filters.sum(axis=0))], atol=1e-5)


def test_float64_and_integer_waveforms_give_the_same(paper):
    waveform = np.array([3, -2, 1] * 700)
    np.testing.assert_array_equal(paper(waveform), paper(waveform.astype(np.float32)))


@pytest.mark.parametrize("shape", [(100, 2), ()])
def test_a_waveform_has_one_axis(paper, shape):
    with pytest.raises(ValueError, match=r"must be \[samples\], got shape"):
        paper(np.zeros(shape, np.float32))


@pytest.mark.parametrize("preset", PRESETS)
def test_pickled_it_gives_the_same_bits_and_is_small(preset):
    front_end = FrontEnd(PRESETS[preset])
    data = pickle.dumps(front_end)
    assert len(data) < 1_000_000
    waveform = signals()["steep"].astype(np.float32)
    np.testing.assert_array_equal(pickle.loads(data)(waveform), front_end(waveform))


def test_the_waveform_is_left_alone(decibels):
    waveform = signals()["steep"].astype(np.float32)
    before = waveform.copy()
    decibels(waveform)
    np.testing.assert_array_equal(waveform, before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_rate": 999}, "`sample_rate` must be from 1000 to 384000 Hz, got 999"),
        ({"sample_rate": 384_001}, "`sample_rate` must be"),
        ({"frame_length": 15, "hop_length": 5}, "`frame_length` must be at least 16 samples, got 15"),
        ({"hop_length": 0}, r"`hop_length` must be from 1 to `frame_length` \(1024\), got 0"),
        ({"hop_length": 1025}, "`hop_length` must be"),
        ({"window": "boxcar"}, "`window` must be one of blackman_harris_62db, .*, got 'boxcar'"),
        ({"n_mels": 0}, "`n_mels` must be from 1 to 512, got 0"),
        ({"n_mels": 513}, "`n_mels` must be"),
        ({"fmin_hz": -1.0}, "`fmin_hz` must be from 0 to below `fmax_hz`"),
        ({"fmin_hz": 11025.0}, "`fmin_hz` must be"),
        ({"fmin_hz": float("nan")}, "`fmin_hz` must be"),
        ({"fmax_hz": 11026.0}, r"`fmax_hz` must be at most half the sample rate \(11025\), got 11026"),
        ({"compression": "log"}, "`compression` must be one of log10, db, got 'log'"),
    ],
)
def test_configuration_rules(changes, message):
    with pytest.raises(UserError, match=message):
        FrontEndConfig(**changes)


@pytest.mark.parametrize("changes", [{"n_mels": 400}, {"frame_length": 128, "hop_length": 64}])
def test_bands_narrower_than_the_resolution(changes):
    with pytest.raises(UserError, match=r"`n_mels=\d+`: band \d+ is narrower than the transform's resolution"):
        FrontEnd(FrontEndConfig(**changes))


@pytest.mark.parametrize("n_mels", [40, 128, 256, 330, 400])
def test_no_band_that_is_accepted_is_empty(n_mels):
    try:
        filters = FrontEnd(FrontEndConfig(n_mels=n_mels)).filters
    except UserError:
        empty = slaney_filters(np.arange(513) * RATE / 1024, n_mels, 0, RATE / 2).sum(axis=0) == 0
        assert empty.any()
    else:
        assert (filters.sum(axis=0) > 0).all()


def test_frames_per_second_and_immutability():
    config = FrontEndConfig()
    assert config.frames_per_s == pytest.approx(43.066, abs=1e-3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.n_mels = 1


@pytest.mark.parametrize("name", ["paper", "decibels"])
@given(cuts=st.lists(st.integers(0, 200_000), max_size=6), length=st.integers(0, 200_000))
@settings(max_examples=15, deadline=None)
def test_a_stream_is_the_whole_to_the_bit_however_it_is_cut(request, name, cuts, length):
    front_end = request.getfixturevalue(name)
    waveform = np.random.default_rng(length).normal(scale=0.1, size=length).astype(np.float32)
    # A steep end, which the decibel preset computes in another precision.
    waveform[length // 2 :] = np.sin(np.arange(length - length // 2, dtype=np.float32) / 10)
    edges = [0, *sorted(min(cut, length) for cut in cuts), length]
    blocks = [waveform[start:end] for start, end in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(list(front_end.stream(blocks))), front_end(waveform))


def test_a_band_is_most_sensitive_at_its_centre(paper):
    centres_hz = band_centres_hz(paper.config)
    bins_hz = np.fft.rfftfreq(1024, 1 / RATE)
    assert centres_hz.shape == (40,)
    np.testing.assert_allclose(bins_hz[paper.filters.argmax(axis=0)], centres_hz, atol=bins_hz[1])
    low, high = dataclasses.replace(paper.config, fmin_hz=500.0), dataclasses.replace(paper.config, fmax_hz=4000.0)
    assert band_centres_hz(low)[0] > 500 and band_centres_hz(high)[-1] < 4000


@pytest.mark.parametrize(("frames", "records"), [(1, 1), (8192, 1), (8193, 2), (16384, 2), (100_000, 13)])
def test_records_of_a_long_track_are_equal(frames, records):
    lengths = segment_lengths(frames)
    assert len(lengths) == records
    assert sum(lengths) == frames
    assert max(lengths) <= 8192
    assert max(lengths) - min(lengths) <= 1
