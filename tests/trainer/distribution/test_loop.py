from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.distribution import devices
from trainer.distribution.loop import Loop, replica_batches
from trainer.distribution.precision import with_scaled_loss
from trainer.training.callbacks import WeightAverage, save_model
from trainer.training.input_wait import InputWait
from trainer.training.losses import RECALL, MacroScore, WeightedCrossentropy
from trainer.training.training_state import build, values_of

PATCHES = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
LABELS = np.arange(10, dtype=np.int32) % 3


def batches(labels=LABELS, endless=False):
    dataset = tf.data.Dataset.from_tensor_slices((PATCHES, labels)).batch(4)
    return dataset.repeat() if endless else dataset


def new_model(strategy, *, numbers="float32", soft=False, averages=False, macro=False):
    """A model that is made for a strategy, or for none."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(3, "softmax")])
        optimizer = with_scaled_loss(keras.optimizers.Adam(0.05, use_ema=averages, ema_momentum=0.5), numbers)
        optimizer.build(model.trainable_variables)
    loss = keras.losses.CategoricalCrossentropy() if soft else keras.losses.SparseCategoricalCrossentropy()
    if macro:
        loss = WeightedCrossentropy()
    metrics = ["accuracy", *([MacroScore(RECALL, num_labels=3)] if macro else [])]
    model.compile(optimizer, loss, metrics=metrics, jit_compile=False)
    build(model, soft_labels=soft)
    return model


class Listener(keras.callbacks.Callback):
    """What is called, with the metrics so far."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.calls, self.logs, self._left = [], [], stop_after

    def _keep(self, name, number, logs):
        self.calls.append((name, number))
        self.logs.append({key: float(value) for key, value in (logs or {}).items()})

    def on_epoch_begin(self, epoch, logs=None):
        self._keep("epoch begin", epoch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self._keep("step", batch, logs)
        if self._left is not None:
            self._left -= 1
            self.model.stop_training = self._left <= 0

    def on_test_batch_end(self, batch, logs=None):
        self._keep("test", batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._keep("epoch end", epoch, logs)

    def on_train_end(self, logs=None):
        self._keep("end", 0, logs)


def run(fit, *callbacks, labels=LABELS, validates=True):
    fit(
        batches(labels, endless=True),
        initial_epoch=1,
        epochs=3,
        steps_per_epoch=3,
        validation_data=batches(labels) if validates else None,
        callbacks=callbacks,
    )


def loop(model, strategy):
    return Loop(model, strategy, InputWait(), batch_size=4, hosts=1).fit


@pytest.fixture(scope="module")
def strategy():
    return tf.distribute.MirroredStrategy(["CPU:0"])


@pytest.mark.parametrize(("soft", "macro", "stop_after"), [(False, False, None), (True, False, 2), (True, True, None)])
def test_callbacks_metrics_and_variables_are_those_of_fit(strategy, soft, macro, stop_after):
    labels = np.eye(3, dtype=np.float32)[LABELS] if soft else LABELS
    if macro:
        labels *= np.array([0.5, 1, 2], np.float32)
    options = {"soft": soft, "macro": macro}
    single, many = new_model(tf.distribute.get_strategy(), **options), new_model(strategy, **options)
    expected, found = Listener(stop_after), Listener(stop_after)
    run(partial(devices.fit, single, InputWait()), expected, labels=labels)
    run(loop(many, strategy), found, labels=labels)
    assert found.calls == expected.calls
    for own, other in zip(found.logs, expected.logs, strict=True):
        assert own == pytest.approx(other, abs=1e-5)
    own, others = values_of(many), values_of(single)
    assert list(own) == list(others)
    for name, value in others.items():
        np.testing.assert_allclose(own[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("validates", [True, False])
def test_averages_and_a_training_without_validation_are_those_of_fit(strategy, tmp_path, validates):
    single, many = new_model(tf.distribute.get_strategy(), averages=True), new_model(strategy, averages=True)
    expected, found = Listener(), Listener()
    run(partial(devices.fit, single, InputWait()), WeightAverage(), expected, validates=validates)
    run(loop(many, strategy), WeightAverage(), found, validates=validates)
    assert found.calls == expected.calls
    assert ("val_loss" in found.logs[-1], ("test", 0) in found.calls) == (validates, validates)
    for own, other in zip(found.logs, expected.logs, strict=True):
        assert own == pytest.approx(other, abs=1e-5)
    others = values_of(single)
    for name, value in values_of(many).items():
        np.testing.assert_allclose(value, others[name], atol=1e-5, err_msg=name)
    own = {}
    for name, model in (("single", single), ("many", many)):
        save_model(model, tmp_path / f"{name}.keras")
        own[name] = keras.models.load_model(tmp_path / f"{name}.keras").get_weights()
    for weights, expected, trained in zip(own["many"], own["single"], many.get_weights(), strict=True):
        np.testing.assert_allclose(weights, expected, atol=1e-5)
        assert np.abs(weights - trained).max() > 1e-4


@pytest.mark.parametrize("validates", [True, False])
def test_an_epoch_that_has_its_end_left_is_ended(strategy, validates):
    single, many = new_model(tf.distribute.get_strategy()), new_model(strategy)
    expected, found = Listener(), Listener()
    for fit, listener in (partial(devices.fit, single, InputWait()), expected), (loop(many, strategy), found):
        left = {"initial_epoch": 1, "epochs": 2, "steps_per_epoch": 0}
        left["validation_data"] = batches() if validates else None
        fit(batches(), **left, callbacks=[listener])
    assert found.calls == expected.calls
    assert found.logs[-2] == pytest.approx(expected.logs[-2], abs=1e-5)
    assert set(found.logs[-2]) >= ({"loss", "val_loss"} if validates else {"loss"})
    assert ("val_loss" in found.logs[-2]) == validates


def test_a_step_whose_gradients_overflow_is_left_out(strategy):
    model = new_model(strategy, numbers="float16")
    before = [weight.numpy() for weight in model.trainable_variables]
    too_much = tf.data.Dataset.from_tensors((np.full((4, 6), np.inf, np.float32), LABELS[:4]))
    loop(model, strategy)(
        too_much,
        initial_epoch=0,
        epochs=1,
        steps_per_epoch=1,
        validation_data=batches(),
        callbacks=[],
    )
    assert float(model.optimizer.dynamic_scale.numpy()) == 2**14
    assert int(model.optimizer.iterations.numpy()) == 0
    for weight, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


UNEVEN_PATCHES = np.arange(7 * 6, dtype=np.float32).reshape(7, 3, 2, 1)
UNEVEN_LABELS = np.arange(7, dtype=np.int32)


def host_batches(rows, host, labels=UNEVEN_LABELS, *, with_total=True):
    """The rows of a host of two global batches, of 4 and of 3 rows, of unknown size as `load` gives them."""
    steps = []
    for begin, end in ((0, 4), (4, 7)):
        own = slice(min(begin + host * rows, end), min(begin + (host + 1) * rows, end))
        steps.append((UNEVEN_PATCHES[own], labels[own], *([np.int32(end - begin)] if with_total else [])))
    signature = [tf.TensorSpec([None, 3, 2, 1]), tf.TensorSpec([None, *labels.shape[1:]], labels.dtype)]
    total = [tf.TensorSpec([], tf.int32)] if with_total else []
    return tf.data.Dataset.from_generator(lambda: iter(steps), output_signature=(*signature, *total))


@pytest.mark.parametrize(
    ("replicas", "local", "rows"), [(1, 1, 4), (2, 1, 2), (2, 2, 2), (3, 1, 2), (4, 2, 1), (8, 4, 1)]
)
def test_every_row_is_given_to_one_replica_and_counts_alike(replicas, local, rows):
    hosts = replicas // local
    given = []
    for host in range(hosts):
        of_host = -(-4 // hosts)
        own = replica_batches(host_batches(of_host, host, with_total=hosts > 1), rows=of_host, local=local)
        assert [spec.shape[0] for spec in own.element_spec] == [rows] * 3
        elements = list(own.as_numpy_iterator())
        assert len(elements) == 2 * local
        given.append([elements[:local], elements[local:]])
    for step, (begin, end) in enumerate([(0, 4), (4, 7)]):
        patches, labels, weights = (
            np.concatenate(each) for each in zip(*(one for host in given for one in host[step]), strict=True)
        )
        there = weights > 0
        np.testing.assert_array_equal(labels[there], UNEVEN_LABELS[begin:end])
        np.testing.assert_array_equal(patches[there], UNEVEN_PATCHES[begin:end])
        np.testing.assert_allclose(weights[there], 1 / (end - begin))
        assert not patches[~there].any()


def test_mixed_labels_keep_their_shape():
    own = replica_batches(host_batches(2, 1, np.eye(7, dtype=np.float32)), rows=2, local=1)
    labels = [element[1] for element in own.as_numpy_iterator()]
    np.testing.assert_array_equal(labels, [np.eye(7)[2:4], [np.eye(7)[6], np.zeros(7)]])
