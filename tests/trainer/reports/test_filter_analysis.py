import keras
import numpy as np
import pytest

from trainer import models
from trainer.reports import filter_analysis

FRAMES_PER_S = 22050 / 512


def model(name):
    keras.utils.set_random_seed(0)
    return models.create(name, num_classes=3, input_shape=(80, 40, 1))


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("time", {"convolution": ("time", (60, 1, 32))}),
        ("frequency", {"convolution": ("frequency", (1, 32, 32))}),
        ("black_box", {"convolution": ("both", (8, 12, 32))}),
        (
            "time_frequency",
            {
                "time_convolution": ("time", (60, 1, 32)),
                "frequency_convolution": ("frequency", (1, 32, 32)),
            },
        ),
    ],
)
def test_filters_of_the_input_are_found_by_their_shape(name, kinds, tmp_path):
    model(name).save(tmp_path / "model.keras")
    for each in (model(name), keras.models.load_model(tmp_path / "model.keras")):
        banks = filter_analysis.filter_banks(each)
        assert {bank.layer: (bank.kind, bank.weights.shape) for bank in banks} == kinds


def pulse(bpm, frames=60, phase=0.3):
    return np.cos(2 * np.pi * bpm / 60 * np.arange(frames) / FRAMES_PER_S + phase)


@pytest.mark.parametrize("bpm", [90, 120, 137, 174, 240])
def test_a_filter_that_beats_has_its_tempo(bpm):
    # A constant is no rhythm, however large.
    weights = np.stack([pulse(bpm), 5 + 0.01 * pulse(bpm)], axis=1).astype(np.float32)
    found = filter_analysis.rhythms(weights, FRAMES_PER_S)
    # The spectrum of so few periods leaks over zero frequency, which shifts the peak.
    assert found.tempo_bpm == pytest.approx([bpm, bpm], abs=3)
    assert found.share == pytest.approx([1, 1], abs=0.1)


def test_a_long_filter_knows_its_tempo_to_less_than_a_step_of_the_transform():
    found = filter_analysis.rhythms(pulse(137.3, frames=1000)[:, np.newaxis], FRAMES_PER_S)
    assert found.tempo_bpm[0] == pytest.approx(137.3, abs=0.1)


def test_the_width_is_that_of_the_lobe_at_half_power():
    found = filter_analysis.rhythms(pulse(160)[:, np.newaxis], FRAMES_PER_S)
    power = np.square(found.magnitudes[:, 0])
    above = found.grid_bpm[power >= power.max() / 2]
    assert above[-1] - above[0] == pytest.approx(found.width_bpm, abs=2)
    assert found.width_bpm == pytest.approx(38.3, abs=0.1)


def test_noise_has_the_share_that_the_tempos_have_of_all_frequencies():
    noise = np.random.default_rng(0).normal(size=(60, 2000))
    assert filter_analysis.rhythms(noise, FRAMES_PER_S).share.mean() == pytest.approx(0.21, abs=0.01)


def test_tempos_stay_in_the_range_and_constants_have_no_power():
    weights = np.stack([pulse(15), pulse(330), np.full(60, 0.7)], axis=1)
    found = filter_analysis.rhythms(weights, FRAMES_PER_S)
    assert found.tempo_bpm[0] == pytest.approx(30, abs=10) and found.tempo_bpm[1] == pytest.approx(300, abs=1)
    assert found.share[2] < 1e-6 or np.abs(found.magnitudes[:, 2]).max() < 1e-9
    assert found.grid_bpm[0] >= 30 and found.grid_bpm[-1] <= 300


@pytest.mark.parametrize(("name", "layer"), [("time", "convolution"), ("time_frequency", "frequency_convolution")])
def test_activity_is_that_of_the_layers_after_pooling(name, layer):
    network = model(name)
    bank = next(bank for bank in filter_analysis.filter_banks(network) if bank.layer == layer)
    patches = np.random.default_rng(0).normal(size=(7, 80, 40, 1)).astype(np.float32)
    labels = np.array([0, 2, 2, 0, 2, 0, 0], np.int32)
    batches = [(patches[:4], labels[:4]), (patches[4:], labels[4:])]
    activity = filter_analysis.genre_activity(network, bank, batches, 3)
    pooling = keras.layers.MaxPooling2D((1, 40) if bank.kind == "time" else (80, 1))
    pooled = keras.ops.convert_to_numpy(pooling(network.get_layer(layer)(patches)))
    by_patch = pooled.mean(axis=(1, 2))
    assert (by_patch >= 0).all() and by_patch.std() > 0.01
    for label in (0, 2):
        assert activity[label] == pytest.approx(by_patch[labels == label].mean(axis=0), rel=1e-5)
    assert np.isnan(activity[1]).all()


def test_activity_is_standardised_over_genres_of_each_filter():
    activity = np.array([[1.0, 4.0, 10.0], [2.0, 4.0, 30.0], [3.0, 4.0, 20.0], [np.nan] * 3])
    scores = filter_analysis.standardized(activity)
    assert scores[:3, 0] == pytest.approx([-1.2247, 0, 1.2247], abs=1e-4)
    assert scores[:3, 1].tolist() == [0, 0, 0]
    assert scores[:3, 2] == pytest.approx([-1.2247, 1.2247, 0], abs=1e-4)
    assert np.isnan(scores[3]).all()
    assert filter_analysis.top_filters(activity, 2) == [[], [2], [0], []]


def test_a_silent_filter_tells_no_genre():
    activity = np.array([[0.0, 1.0], [0.0, 2.0]])
    assert filter_analysis.standardized(activity)[:, 0].tolist() == [0, 0]
    assert filter_analysis.top_filters(activity, 3) == [[], [1]]


def test_the_heaviest_band_in_hz():
    weights = np.array([[0.1, -3.0], [0.3, 0.0], [-0.9, 0.2]])
    assert filter_analysis.heaviest_hz(weights, np.array([100.0, 200.0, 300.0, 400.0])).tolist() == [200, 300]


@pytest.mark.parametrize("hop", [1, 2, 4, 8, 512, 2205, 8820])
def test_tempos_at_any_frame_rate(hop):
    rate = 22050 / hop
    weights = np.random.default_rng(0).normal(size=(60, 3))
    found = filter_analysis.rhythms(weights, rate)
    assert np.diff(found.grid_bpm).max() <= 0.7
    assert found.grid_bpm[0] == 30 and found.grid_bpm[-1] == pytest.approx(min(300, 30 * rate))
    assert np.isfinite(found.tempo_bpm).all() and (found.share <= 1).all()
    # The transform of all frequencies, where it is small enough, says the same.
    if hop >= 512:
        centred = weights - weights.mean(axis=0)
        power = np.square(np.abs(np.fft.rfft(centred, 1 << 16, axis=0)))
        bpm = 60 * np.fft.rfftfreq(1 << 16, 1 / rate)
        inside = (bpm >= 30) & (bpm <= 300)
        assert found.share == pytest.approx(power[inside].sum(axis=0) / power.sum(axis=0), abs=2e-3)
        assert found.tempo_bpm == pytest.approx(bpm[inside][power[inside].argmax(axis=0)], abs=0.1)


def test_a_single_weight_is_along_neither_direction():
    for name, option in (("frequency", "filter_bands"), ("time", "filter_frames")):
        network = models.create(name, num_classes=3, input_shape=(80, 40, 1), filters=2, **{option: 1})
        (bank,) = filter_analysis.filter_banks(network)
        assert bank.kind == filter_analysis.NEITHER
