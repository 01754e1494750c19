import signal
import types

import pytest

from trainer.training.callbacks import StopWhenAsked
from trainer.training.stop import Stop, Stopped


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
