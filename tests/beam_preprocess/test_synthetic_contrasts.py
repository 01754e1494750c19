import librosa
import numpy as np
import pytest

from beam_preprocess import synthetic_contrasts
from beam_preprocess.log_mel import FrontEnd, FrontEndConfig
from beam_preprocess.synthetic_contrasts import (
    BURST_S,
    LOWEST_BAND,
    SAMPLE_RATE_HZ,
    STEP_S,
    STEPS,
    band_edges_hz,
    play,
    synthesize_track,
)

# A whole number of beats of each tempo, for steps of 0.075 s.
SECONDS = 120 * 0.075
SEEDS = range(12)


@pytest.fixture(scope="module")
def front_end():
    return FrontEnd(FrontEndConfig())


def frames(front_end, *, steps, lowest_band, seeds=SEEDS):
    """Log-mel frames [frames, bands] of tracks that share all else with those of another tempo or spectrum."""
    size = round(SECONDS * SAMPLE_RATE_HZ)
    tracks = [play(np.random.default_rng(seed), size=size, steps=steps, lowest_band=lowest_band) for seed in seeds]
    return np.concatenate([front_end(track) for track in tracks])


def tempo_bpm(log_mel, frames_per_s):
    """The strongest frequency of the loudness between 60 and 240 beats a minute."""
    loudness = log_mel.mean(1) - log_mel.mean()
    bpm = 60 * np.fft.rfftfreq(8 * len(loudness), 1 / frames_per_s)
    spectrum = np.abs(np.fft.rfft(loudness, 8 * len(loudness)))
    return bpm[np.argmax(np.where((bpm > 60) & (bpm < 240), spectrum, 0))]


def cdf_distance(one, other):
    """Kolmogorov and Smirnov's: how far the distribution functions of a band's values are apart, over all bands."""
    grid = np.linspace(0, 6, 601)
    ones, others = (np.stack([np.searchsorted(np.sort(band), grid) / len(band) for band in x.T]) for x in (one, other))
    return np.abs(ones - others).max()


@pytest.mark.parametrize("genre", [*STEPS, *LOWEST_BAND])
def test_a_track_is_sound(genre):
    track = synthesize_track(genre, seed=3, seconds=3, index=5)
    assert (track.dtype, track.shape) == (np.float32, (3 * SAMPLE_RATE_HZ,))
    assert np.isfinite(track).all()
    assert 0.05 < np.abs(track).max() < 1


@pytest.mark.parametrize("lowest_band", LOWEST_BAND.values())
def test_no_draw_is_clipped(lowest_band):
    class Loudest:
        """All levels at their highest, all tones in phase."""

        def uniform(self, low, high):
            return high

        def random(self):
            return 0.25

        def standard_normal(self, size, dtype):
            return np.full(size, 3, dtype)

    assert np.abs(play(Loudest(), size=SAMPLE_RATE_HZ, steps=4, lowest_band=lowest_band)).max() < 1


def test_a_track_depends_on_genre_seed_and_index_only():
    def make(genre="bpm_100", **changes):
        return synthesize_track(genre, **{"seed": 1, "seconds": 3, "index": 1} | changes)

    np.testing.assert_array_equal(make(), make())
    for other in (make("bpm_080"), make("timbre_a"), make(seed=2), make(index=2), make(seed=0, index=0)):
        assert not np.array_equal(make(), other)


def test_a_frame_never_holds_more_than_one_burst():
    frame_s = FrontEndConfig().frame_length / SAMPLE_RATE_HZ
    assert BURST_S[1] < STEP_S[0] - frame_s


@pytest.mark.parametrize("genre", STEPS)
def test_the_tempo_is_that_of_the_genre(genre, front_end):
    for index in range(4):
        log_mel = front_end(synthesize_track(genre, seed=0, seconds=12, index=index))
        found_bpm = tempo_bpm(log_mel, front_end.config.frames_per_s)
        assert found_bpm == pytest.approx(int(genre.removeprefix("bpm_")), rel=0.06)


def test_no_single_frame_tells_the_tempo(front_end, monkeypatch):
    by_tempo = [frames(front_end, steps=steps, lowest_band=2) for steps in STEPS.values()]
    for other in by_tempo[1:]:
        assert cdf_distance(by_tempo[0], other) < 0.02
    for statistic in (np.mean, np.std, np.median):
        assert np.ptp([statistic(own, axis=0) for own in by_tempo], axis=0).max() < 0.02
    # What this would see: with bursts as long as a step, a frame holds the ends of two, or of one and a rest.
    monkeypatch.setattr(synthetic_contrasts, "BURST_S", STEP_S)
    slow, fast = (frames(front_end, steps=STEPS[genre], lowest_band=2) for genre in ("bpm_080", "bpm_200"))
    assert np.abs(np.median(slow, axis=0) - np.median(fast, axis=0)).max() > 0.1


def test_the_loud_bands_are_those_of_the_genre_and_each_band_is_loud_in_one(front_end):
    loud = []
    for lowest_band in LOWEST_BAND.values():
        peaks = np.quantile(frames(front_end, steps=8, lowest_band=lowest_band), 0.95, axis=0)
        loud.append(set(np.argsort(peaks)[-10:].tolist()))
        assert min(loud[-1]) == lowest_band
    assert sorted(band for bands in loud for band in bands) == list(range(40))


def test_no_single_band_tells_the_spectrum(front_end):
    """The loud bands of all spectra are equally loud, and do the same at the same times."""
    courses = []
    for lowest_band in LOWEST_BAND.values():
        log_mel = frames(front_end, steps=6, lowest_band=lowest_band)
        loud = log_mel[:, np.sort(np.argsort(log_mel.mean(0))[-10:])]
        courses.append(loud.mean(1))
    assert np.ptp([course.mean() for course in courses]) < 0.03
    assert np.ptp([course.std() for course in courses]) < 0.03
    assert np.corrcoef(courses).min() > 0.99


def test_the_bands_are_those_of_the_front_end():
    config = FrontEndConfig()
    expected = librosa.mel_frequencies(config.n_mels + 2, fmin=config.fmin_hz, fmax=config.fmax_hz)
    np.testing.assert_allclose(band_edges_hz(), expected, rtol=1e-9)
