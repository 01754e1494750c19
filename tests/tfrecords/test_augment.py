import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from beam_preprocess.audio.front_end import PRESETS, FrontEnd
from tfrecords import augment as augment_module
from tfrecords.augment import Augmenter, augmented, spec_augment_per_patch
from tfrecords.augmentation import Augmentation
from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics
from tfrecords.reader import load

ROOT = Path(__file__).parents[2]
LOG10 = {"compression": "log10"}
ALL = Augmentation(
    gain_db=6,
    equalizer_db=6,
    mixup_alpha=0.4,
    frequency_masks=2,
    frequency_mask_bands=2,
    time_masks=1,
    time_mask_frames=3,
)
SMALL = {"patch_frames": 6, "batch_size": 7}
# A statistic that a right program exceeds once in 10,000 tests; the seeds are fixed.
UNLIKELY = 1e-4


def augment(patches, labels=None, *, seed=(0, 0), num_classes=3, front_end=LOG10, statistics=None, **settings):
    """One batch through an Augmenter; patches [batch, frames, bands], labels by default 0."""
    augmenter = Augmenter(Augmentation(**settings), num_classes=num_classes, front_end=front_end, statistics=statistics)
    patches = tf.constant(np.asarray(patches, np.float32)[..., np.newaxis])
    labels = tf.zeros(len(patches), tf.int32) if labels is None else tf.constant(labels, tf.int32)
    patches, labels = augmenter(patches, labels, seed=tf.constant(seed, tf.int64))
    return patches.numpy()[..., 0], labels.numpy()


def all_batches(dataset):
    return [(patches.tobytes(), labels.tobytes()) for patches, labels in dataset.as_numpy_iterator()]


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_dataset):
    path = tmp_path_factory.mktemp("augment") / "dataset"
    front_end = {"compression": "log10"}
    return write_dataset(path, frames=(6, 40), mel_bands=4, tracks_per_label=5, front_end=front_end)


@pytest.fixture
def stream(data):
    """Augmented batches of the dataset's training part."""
    statistics = data.manifest.statistics(["train"])
    augmenter = Augmenter(ALL, num_classes=3, front_end=data.manifest.front_end, statistics=statistics)

    def make(*, seed=0, first_batch=0, host_index=0, **where):
        batches = load(data.path, parts=["train"], training=True, statistics=statistics, **where, **SMALL)
        return augmented(batches, augmenter, seed=seed, first_batch=first_batch, host_index=host_index)

    return make


def test_a_training_that_goes_on_sees_what_an_unbroken_one_would_have(stream):
    steps = int(stream().cardinality())
    assert steps > 3
    unbroken = all_batches(stream(epochs=3))
    assert len(set(unbroken)) == 3 * steps
    for epoch, step in ((1, 0), (1, 2), (2, steps - 1)):
        first = epoch * steps + step
        assert all_batches(stream(epoch=epoch, step=step, epochs=3 - epoch, first_batch=first)) == unbroken[first:]
    assert all_batches(stream(epochs=None).take(steps + 2)) == unbroken[: steps + 2]


def test_seed_host_and_index_alone_decide(stream):
    first = all_batches(stream())
    tf.random.set_seed(3)
    assert all_batches(stream()) == first
    for other in ({"seed": 1}, {"first_batch": 1}, {"host_index": 1}):
        assert not set(all_batches(stream(**other))) & set(first)


def test_shapes_and_types(stream):
    dataset = stream()
    assert [part.dtype for part in dataset.element_spec] == [tf.float32, tf.float32]
    assert [part.shape.as_list() for part in dataset.element_spec] == [[None, 6, 4, 1], [None, 3]]
    for patches, labels in dataset:
        assert np.isfinite(patches).all()
        np.testing.assert_allclose(tf.reduce_sum(labels, axis=1), 1, atol=1e-6)


def test_without_any_variation_batches_stay_as_they_are(data):
    batches = load(data.path, training=True, **SMALL)
    same = augmented(batches, Augmenter(Augmentation(), num_classes=3, front_end={}))
    assert all_batches(same) == all_batches(batches)
    assert same.element_spec == batches.element_spec
    assert int(same.cardinality()) == int(batches.cardinality())


def test_a_mask_wider_than_a_patch_is_refused_before_training(data):
    augmenter = Augmenter(Augmentation(time_masks=1), num_classes=3, front_end={})
    with pytest.raises(UserError, match=r"time_mask_frames.* must be at most the 6 frames of a patch, got 16"):
        augmented(load(data.path, training=True, **SMALL), augmenter)


@pytest.mark.parametrize("preset", ["cbmi2016", "librosa"])
@pytest.mark.parametrize("normalised", [False, True])
def test_a_gain_is_what_the_front_end_makes_of_louder_audio(preset, normalised):
    front_end = FrontEnd(PRESETS[preset])
    rng = np.random.default_rng(0)
    waveform = rng.normal(size=40_000) * np.geomspace(1e-5, 0.3, 40_000)  # from near silence to loud
    log_mel = front_end(waveform)
    statistics = BandStatistics.of(log_mel) if normalised else None
    found, _ = augment(
        np.stack([log_mel if statistics is None else (log_mel - statistics.mean) / statistics.scale] * 6),
        gain_db=12,
        front_end={"compression": PRESETS[preset].compression},
        statistics=statistics,
    )
    found = found if statistics is None else found * statistics.scale + statistics.mean
    gains_db = []
    for louder in found:
        # The loudest band tells the gain; then every value must be that of audio which is so much louder.
        at = np.unravel_index(log_mel.argmax(), log_mel.shape)
        gain_db = (louder[at] - log_mel[at]) * (10 if preset == "cbmi2016" else 1)
        expected = front_end(waveform * 10 ** (gain_db / 20))
        np.testing.assert_allclose(louder, expected, atol=2e-4 * (1 if preset == "cbmi2016" else 10))
        gains_db.append(gain_db)
    assert -12 < min(gains_db) < -1 and 1 < max(gains_db) < 12 and len(set(gains_db)) == 6


def test_gains_are_evenly_spread_and_silence_stays_silent():
    found, _ = augment(np.full((4000, 1, 1), 5.0), gain_db=3)
    p_value = scipy.stats.kstest((found.ravel() - 5) * 10, scipy.stats.uniform(-3, 6).cdf).pvalue
    assert p_value > UNLIKELY
    assert not augment(np.zeros((10, 2, 2)), gain_db=20)[0].any()


def test_silence_that_was_normalised_stays_silent_at_any_gain():
    # Normalised and back, silence is rounded to a little less or more than 0.
    statistics = BandStatistics.of(np.random.default_rng(0).uniform(0, 3, (100, 40)))
    silent = np.tile(-statistics.mean / statistics.scale, (50, 4, 1))
    found, _ = augment(silent, gain_db=40, equalizer_db=40, statistics=statistics)
    assert np.isfinite(found).all()
    quiet, _ = augment(silent, gain_db=6, statistics=statistics)
    np.testing.assert_allclose(quiet, silent, atol=1e-5)


def test_silence_in_decibels_stays_silent_and_is_told_from_the_quiet():
    statistics = BandStatistics.of(np.random.default_rng(0).uniform(-100, 0, (100, 40)))
    values = np.tile(np.where(np.arange(40) % 2, -100.0, -60.0), (50, 4, 1))
    normalised = (values - statistics.mean) / statistics.scale
    found, _ = augment(normalised, gain_db=20, front_end={"compression": "db"}, statistics=statistics)
    found = found * statistics.scale + statistics.mean
    np.testing.assert_allclose(found[..., 1::2], -100, atol=1e-4)
    assert found[..., ::2].min() < -70 and found[..., ::2].max() > -50


def test_an_equalisation_is_lines_through_five_gains_evenly_spread():
    found, _ = augment(np.full((4000, 2, 9), 5.0), equalizer_db=3)
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    gains_db = (found[:, 0] - 5) * 10
    at, between = gains_db[:, ::2], gains_db[:, 1::2]
    for point in at.T:
        assert scipy.stats.kstest(point, scipy.stats.uniform(-3, 6).cdf).pvalue > UNLIKELY
    # A correlation's deviation is 1 / sqrt(4000) = 0.016 where there is none.
    assert abs(np.corrcoef(at.T) - np.eye(5)).max() < 0.08
    np.testing.assert_allclose(between, (at[:, :-1] + at[:, 1:]) / 2, atol=1e-3)


def test_gain_and_equalisation_add_up():
    flat = np.full((8, 1, 9), 5.0)
    gain, equalisation, both = (
        augment(flat, **settings)[0] - 5
        for settings in ({"gain_db": 6}, {"equalizer_db": 3}, {"gain_db": 6, "equalizer_db": 3})
    )
    np.testing.assert_allclose(both, gain + equalisation, atol=1e-5)


def mixup_shares(alpha, count=2000):
    """How much of each patch is its own."""
    _, labels = augment(np.zeros((count, 1, 1)), np.arange(count), num_classes=count, mixup_alpha=alpha)
    assert np.count_nonzero(labels, axis=1).max() == 2
    return np.diagonal(labels)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_of_mixup_are_the_greater_ones_of_a_beta_distribution(alpha):
    beta = scipy.stats.beta(alpha, alpha)
    found = scipy.stats.kstest(mixup_shares(alpha), lambda share: beta.cdf(share) - beta.cdf(1 - share))
    assert found.pvalue > UNLIKELY


def test_the_smallest_alpha_takes_nearly_all_from_one(alpha=0.01):
    shares = mixup_shares(alpha)
    assert np.isfinite(shares).all()
    between = np.diff(scipy.stats.beta(alpha, alpha).cdf([0.01, 0.99]))
    assert np.mean(shares < 0.99) == pytest.approx(between[0], abs=0.02)


def test_patches_and_labels_are_mixed_alike():
    count = 50
    labels = np.arange(count) % 5
    patches = np.eye(5)[labels][:, np.newaxis, :]  # each patch is its label
    found, soft = augment(patches, labels, num_classes=5, mixup_alpha=1.0)
    np.testing.assert_allclose(found[:, 0, :], soft, atol=1e-6)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    assert soft.dtype == np.float32
    assert np.mean(np.count_nonzero(soft, axis=1) == 2) > 0.5
    assert len({tuple(row) for row in soft.round(4)}) > 30


def test_masks_hide_what_is_mixed_in_too():
    found, _ = augment(np.ones((200, 4, 5)), np.zeros(200), mixup_alpha=1.0, frequency_masks=1, frequency_mask_bands=4)
    assert set(np.unique(found.round(5))) == {0.0, 1.0}


def runs(patches, axis):
    """(first hidden step, hidden steps) of each patch whose only mask is along the axis."""
    hidden = np.all(patches == 0, axis=2 if axis == 1 else 1)
    assert np.array_equal(np.expand_dims(hidden, 2 if axis == 1 else 1) & (patches >= 0), patches == 0)
    return Counter((int(row.argmax()), int(row.sum())) for row in hidden)


def unlikelihood(found, *, steps, widest):
    """p of the counts of (first, width), were all widths, and all places for each, equally likely."""
    expected = {(0, 0): 1 / (widest + 1)}
    for width in range(1, widest + 1):
        for first in range(steps - width + 1):
            expected[first, width] = 1 / (widest + 1) / (steps - width + 1)
    assert set(found) <= set(expected)
    counts = [found[place] for place in expected]
    return scipy.stats.chisquare(counts, np.array(list(expected.values())) * sum(counts)).pvalue


def batched(patches, augmentation):
    augmenter = Augmenter(augmentation, num_classes=1, front_end={})
    found, _ = augmenter(patches[..., tf.newaxis], tf.zeros(len(patches), tf.int32), seed=tf.constant([5, 6], tf.int64))
    return found[..., 0].numpy()


def one_by_one(patches, augmentation):
    tf.random.set_seed(11)
    mapped = tf.data.Dataset.from_tensor_slices(patches).map(
        lambda patch: spec_augment_per_patch(patch, augmentation), num_parallel_calls=1
    )
    return mapped.batch(len(patches)).get_single_element().numpy()


NEEDS_TENSORFLOW_IO = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_io") is None, reason="tensorflow-io is not there for Python 3.13"
)
FORMS = pytest.mark.parametrize("form", [batched, pytest.param(one_by_one, marks=NEEDS_TENSORFLOW_IO)])


@FORMS
@pytest.mark.parametrize(("axis", "widest"), [(1, 3), (1, 6), (2, 2), (2, 5)])
def test_both_forms_give_every_width_and_place_the_same_chance(form, axis, widest):
    frames, bands = 6, 5
    settings = {"time_masks": 1, "time_mask_frames": widest}
    if axis == 2:
        settings = {"frequency_masks": 1, "frequency_mask_bands": widest}
    found = runs(form(tf.ones([4000, frames, bands]), Augmentation(**settings)), axis)
    assert unlikelihood(found, steps=(frames, bands)[axis - 1], widest=widest) > UNLIKELY


@FORMS
def test_both_forms_draw_every_mask_by_itself(form):
    asked = Augmentation(frequency_masks=2, frequency_mask_bands=2, time_masks=2, time_mask_frames=2)
    hidden = form(tf.ones([6000, 4, 4]), asked) == 0
    # One mask of width 1 or 2, each with a chance of 1/3, hides an outer step of the four, or an inner one.
    outer, inner = 1 / 3 * (1 / 4 + 1 / 3), 1 / 3 * (1 / 4 + 2 / 3)
    seen = (1 - np.array([outer, inner, inner, outer])) ** 2
    np.testing.assert_allclose(hidden.mean(axis=0), 1 - np.outer(seen, seen), atol=0.03)


def test_patches_of_a_batch_are_masked_apart():
    found, _ = augment(np.ones((40, 30, 20)), time_masks=2, time_mask_frames=10, frequency_masks=2)
    assert len({patch.tobytes() for patch in found}) == 40


@NEEDS_TENSORFLOW_IO
def test_tensorflow_io_is_imported_when_it_is_needed_and_without_its_warnings():
    code = (
        "import sys; from tfrecords import augment; print('tensorflow_io' in sys.modules); "
        "print(callable(augment._tensorflow_io_audio().freq_mask))"
    )
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "False\nTrue\n"


def test_no_other_warning_is_silenced(tmp_path, monkeypatch):
    warnings = ("unable to load libtensorflow_io_plugins.so: x", "file system plugins are not loaded: x", "others are")
    calls = "".join(f"warnings.warn({text!r})\n" for text in warnings)
    (tmp_path / "tensorflow_io.py").write_text(f"import warnings\n{calls}audio = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow_io", raising=False)
    with pytest.warns(UserWarning) as seen:
        augment_module._tensorflow_io_audio()
    monkeypatch.delitem(sys.modules, "tensorflow_io")
    assert [str(warning.message) for warning in seen] == ["others are"]


def test_without_tensorflow_io_one_line_says_which_python_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    with pytest.raises(UserError, match=r"^spec_augment_per_patch needs tensorflow-io, and so Python below 3\.13; "):
        spec_augment_per_patch(tf.ones([6, 5]), Augmentation(time_masks=1))
