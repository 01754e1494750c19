import contextlib
import math
import resource
import signal
import types
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecords.common.command_line import UserError
from trainer.config import RECIPES
from trainer.distribution import devices
from trainer.distribution.precision import with_scaled_loss
from trainer.training import callbacks
from trainer.training.callbacks import (
    BestCheckpoint,
    HalveRate,
    SaveProgress,
    StopOnNaN,
    StopWhenAsked,
    StopWhenDone,
    WeightAverage,
    averaged,
    save_model,
)
from trainer.training.input_wait import InputWait
from trainer.training.schedules import LossRiseSchedule, Recipe
from trainer.training.stop import Stop, Stopped
from trainer.training.training_state import STATE_FILE, TrainingState, build, values_of
from trainer.training_job import read_history


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(200, name="dense")])


def set_bias(model, value):
    model.get_layer("dense").bias.assign(np.full(200, value, np.float32))


def saved_bias(path):
    return float(keras.models.load_model(path).get_layer("dense").bias[0])


@contextlib.contextmanager
def no_file_above(size):
    """As on a full disk, writing fails with an OSError after so many bytes of a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def checkpoints(model, path, recipe, history):
    """A function that ends an epoch, as training does, and returns which epoch's model is then kept."""
    callback = BestCheckpoint(path, recipe, history)
    callback.set_model(model)

    def end_epoch(metrics):
        set_bias(model, len(history) + 1)
        history.append(metrics)
        callback.on_epoch_end(len(history) - 1, metrics)
        return saved_bias(path) if path.exists() else None

    return end_epoch


def test_the_checkpoint_is_that_of_the_lowest_validation_loss(model, tmp_path):
    end_epoch = checkpoints(model, tmp_path / "best.keras", RECIPES["modern"], [])
    losses = (2.0, 1.0, 1.0, 1.5, math.nan, 0.5, 0.6)
    assert [end_epoch({"loss": 0.0, "val_loss": loss}) for loss in losses] == [1, 2, 2, 2, 2, 6, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["best.keras"]


def test_the_checkpoint_is_that_of_the_highest_validation_accuracy(model, tmp_path):
    end_epoch = checkpoints(model, tmp_path / "best.keras", RECIPES["cbmi2016"], [])
    scores = ((2.0, 0.5), (1.0, 0.5), (3.0, 0.75), (0.5, 0.7), (0.4, 0.75))
    kept = [end_epoch({"val_loss": loss, "val_accuracy": accuracy}) for loss, accuracy in scores]
    assert kept == [1, 1, 3, 3, 3]


def test_the_checkpoint_is_the_last_one_where_nothing_chooses(model, tmp_path):
    end_epoch = checkpoints(model, tmp_path / "best.keras", RECIPES["augmented"], [])
    assert [end_epoch({"loss": loss}) for loss in (2.0, 1.0, 3.0)] == [1, 2, 3]


def test_a_disk_that_is_full_leaves_the_last_good_checkpoint_and_no_rest(model, tmp_path):
    end_epoch = checkpoints(model, tmp_path / "best.keras", RECIPES["modern"], [])
    end_epoch({"val_loss": 2.0})
    with no_file_above(2000), pytest.raises(UserError, match=r"best\.keras cannot be written: File too large"):
        end_epoch({"val_loss": 1.0})
    assert saved_bias(tmp_path / "best.keras") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["best.keras"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_training_with_one_line(value):
    callback = StopOnNaN()
    callback.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0})
    callback.on_epoch_end(0, {"loss": 1.0})
    with pytest.raises(UserError, match=f"^the training loss is {value} after epoch 3; lower `learning_rate`$"):
        callback.on_epoch_end(2, {"loss": value, "val_loss": 1.0})
    with pytest.raises(UserError, match=f"^the validation loss is {value} after epoch 1; lower `learning_rate`$"):
        callback.on_epoch_end(0, {"loss": 1.0, "val_loss": value})


def test_a_best_loss_from_before_stays_the_one_to_beat(model, tmp_path):
    history = [{"val_loss": 2.0}, {"val_loss": 1.0}]
    end_epoch = checkpoints(model, tmp_path / "best.keras", RECIPES["modern"], history)
    assert [end_epoch({"val_loss": loss}) for loss in (1.0, 0.9)] == [None, 4]


@pytest.mark.parametrize("done", [False, True])
def test_training_ends_when_it_is_done(model, done):
    callback = StopWhenDone(lambda: done)
    callback.set_model(model)
    model.stop_training = False
    callback.on_epoch_end(0, {})
    assert model.stop_training is done


@pytest.fixture
def compiled(model):
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def test_progress_is_saved_by_the_clock_and_at_the_end_of_an_epoch(compiled, tmp_path, monkeypatch):
    clock = iter([100, 104.9, 105, 105, 109, 110.1, 110.1, 200, 200])
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: next(clock))
    callback = SaveProgress(tmp_path, TrainingState(), steps=5, save_every_s=5)
    callback.set_model(compiled)
    callback.on_epoch_begin(0)
    places = []
    for batch in range(5):
        callback.on_train_batch_end(batch)
        state = TrainingState.load(tmp_path / STATE_FILE) if (tmp_path / STATE_FILE).exists() else None
        places.append(state and (state.epoch, state.step))
    assert places == [None, (0, 2), (0, 2), (0, 4), (0, 4)]
    callback.on_epoch_end(0, {"loss": 2.0, "val_loss": np.float32(1.5)})
    state = TrainingState.load(tmp_path / STATE_FILE)
    assert (list(state.history), state.step) == ([{"loss": 2.0, "val_loss": 1.5}], 0)
    assert read_history(tmp_path) == {"epoch": [0], "loss": [2.0], "val_loss": [1.5]}


def test_steps_done_before_count_in_the_epoch_that_goes_on_alone(compiled, tmp_path):
    start = TrainingState([{"val_loss": 1.0}], 3, callbacks.values_of(compiled))
    callback = SaveProgress(tmp_path, start, steps=9, save_every_s=0)
    callback.set_model(compiled)
    for epoch, place in ((1, (1, 4)), (2, (2, 1))):
        callback.on_epoch_begin(epoch)
        callback.on_train_batch_end(0)
        state = TrainingState.load(tmp_path / STATE_FILE)
        assert (state.epoch, state.step) == place
        callback.on_epoch_end(epoch, {"val_loss": 1.0})


def test_a_state_within_validation_has_the_running_means_of_the_steps(compiled, tmp_path):
    compiled.train_on_batch(np.ones((2, 3)), np.zeros((2, 200)))
    callback = SaveProgress(tmp_path, TrainingState(), steps=2, save_every_s=1e9)
    callback.set_model(compiled)
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(0)
    callback.on_train_batch_end(1)
    expected = callbacks.values_of(compiled)
    # What validation does to them.
    compiled.reset_metrics()
    callback.save_now()
    state = TrainingState.load(tmp_path / STATE_FILE)
    assert (state.epoch, state.step, callback.step) == (0, 2, 2)
    assert any(value.any() for name, value in state.variables.items() if name.startswith("metrics"))
    for name, value in expected.items():
        np.testing.assert_array_equal(state.variables[name], value, err_msg=name)


def test_the_rate_is_halved_for_the_epoch_that_follows(compiled, capsys):
    recipe = Recipe("SGD", "val_accuracy", rises=LossRiseSchedule(to_halve=1, to_stop=9))
    history, rates, said = [], [], []
    callback = HalveRate(recipe, history, 0.5)
    callback.set_model(compiled)
    for loss in (3.0, 4.0, 4.0, 2.0, 1.0):
        callback.on_epoch_begin(len(history))
        rates.append(float(compiled.optimizer.learning_rate))
        said.append(capsys.readouterr().out)
        history.append({"loss": loss})
    assert rates == [0.5, 0.5, 0.5, 0.5, 0.25]
    assert said == ["", "", "", "", "learning rate 0.25 from epoch 5 on\n"]
    # As one that goes on: whatever the optimiser held, the history decides.
    compiled.optimizer.learning_rate = 7.0
    callback.on_epoch_begin(5)
    assert float(compiled.optimizer.learning_rate) == 0.25


@pytest.fixture
def training():
    """A training of 9 epochs of 5 steps in its third epoch: the callback, the stop and the progress, which counts."""
    progress = types.SimpleNamespace(history=[{}, {}], step=0, saved=0)

    def save_now():
        progress.saved += 1

    progress.save_now = save_now
    stop = Stop()
    return StopWhenAsked(stop, progress, name="time", epochs=9, steps=5), stop, progress


def test_the_first_step_is_not_waited_for_but_what_follows_is(training):
    callback, stop, progress = training
    moments = []
    for event in ("train_begin", "epoch_begin", "train_batch_begin", "train_batch_end", "test_begin", "test_batch_end",
                  "test_end", "epoch_end", "epoch_begin", "train_batch_begin", "train_end"):  # fmt: skip
        arguments = (0,) if "batch" in event or "epoch" in event else ()
        getattr(callback, f"on_{event}")(*arguments)
        moments.append(stop.deferred)
    assert moments == [False] * 3 + [True] * 7 + [False]
    assert not progress.saved


def test_a_validation_alone_is_waited_for(training):
    callback, stop, _ = training
    callback.on_train_begin()
    callback.on_test_begin()
    assert stop.deferred


@pytest.mark.parametrize(
    ("step", "event", "saved", "where"),
    [
        (2, "train_batch_end", 1, "in epoch 3 of 9 of time, after step 2 of 5"),
        (5, "test_batch_end", 1, "in epoch 3 of 9 of time, after step 5 of 5"),
        (0, "epoch_end", 0, "after epoch 2 of 9 of time"),
    ],
)
def test_what_was_asked_for_is_done_after_the_step_with_the_state_saved(training, step, event, saved, where):
    callback, stop, progress = training
    stop.requested, progress.step = signal.SIGTERM, step
    with pytest.raises(Stopped, match=f"stopped by SIGTERM {where}; the same command goes on from there$"):
        getattr(callback, f"on_{event}")(0, {})
    assert progress.saved == saved


def test_another_training_does_not_begin(training):
    callback, stop, progress = training
    stop.requested = signal.SIGTERM
    with pytest.raises(Stopped):
        callback.on_train_begin()
    assert not progress.saved


MOMENTUM = 0.75
PATCHES = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
LABELS = np.arange(12, dtype=np.int32) % 3


def new_model(numbers="float32", *, momentum=MOMENTUM):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.BatchNormalization(), keras.layers.Dense(3, "softmax", name="dense")]
    )
    averages = {"use_ema": True, "ema_momentum": momentum} if momentum else {}
    optimizer = with_scaled_loss(keras.optimizers.Adam(0.1, **averages), numbers)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    build(model)
    return model


def weights(model):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]


class Weights(keras.callbacks.Callback):
    """The weights after each step, and those that are validated."""

    def __init__(self):
        super().__init__()
        self.steps, self.validated = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(weights(self.model))

    def on_test_batch_end(self, batch, logs=None):
        self.validated.append(weights(self.model))


def train(model, *callbacks, epochs=(0, 2), validates=True):
    batches = tf.data.Dataset.from_tensor_slices((PATCHES, LABELS)).batch(4)
    fit = partial(devices.fit, model, InputWait(), batches.repeat(), steps_per_epoch=3)
    validation = batches.take(1) if validates else None
    fit(initial_epoch=epochs[0], epochs=epochs[1], validation_data=validation, callbacks=callbacks)


def average_of(steps):
    mean = steps[0]
    for own in steps[1:]:
        mean = [MOMENTUM * before + (1 - MOMENTUM) * now for before, now in zip(mean, own, strict=True)]
    return mean


def assert_equal(found, expected, atol=0.0):
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=0, atol=atol)


@pytest.mark.parametrize("numbers", ["float32", "float16"])
def test_the_average_is_validated_and_kept_and_the_weights_are_trained(tmp_path, numbers):
    model, plain, seen, plainly = new_model(numbers), new_model(numbers, momentum=0), Weights(), Weights()
    train(model, WeightAverage(), seen)
    train(plain, plainly, validates=False)
    for own, other in zip(seen.steps, plainly.steps, strict=True):
        assert_equal(own, other)
    assert_equal(weights(model), seen.steps[-1])
    assert_equal(seen.validated[0], average_of(seen.steps[:3]), atol=1e-6)
    assert_equal(seen.validated[1], average_of(seen.steps), atol=1e-6)
    assert np.abs(seen.validated[1][-1] - seen.steps[-1][-1]).max() > 1e-3
    save_model(model, tmp_path / "best.keras")
    assert_equal(weights(model), seen.steps[-1])
    kept = keras.models.load_model(tmp_path / "best.keras")
    assert_equal(weights(kept), seen.validated[1])
    # What normalises has no weights to average.
    for own, other in zip(kept.non_trainable_variables, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(own, other)


def test_several_fits_are_one():
    whole, parts = new_model(), new_model()
    average = WeightAverage()
    train(whole, WeightAverage())
    train(parts, average, epochs=(0, 1))
    train(parts, average, epochs=(1, 2))
    expected = values_of(whole)
    for name, value in values_of(parts).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_before_the_first_step_and_without_averages_the_weights_are_their_own():
    for model in (new_model(), new_model(momentum=0), keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])):
        own = weights(model)
        with averaged(model):
            assert_equal(weights(model), own)
        assert_equal(weights(model), own)
