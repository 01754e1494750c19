import types

import pytest

from trainer.training import progress
from trainer.training.progress import Pace, PaceMeter


@pytest.fixture
def clock(monkeypatch):
    """Seconds that have gone by, and those spent waiting."""
    now = types.SimpleNamespace(seconds=100.0, waited=7.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now.seconds)
    return now


def meter_of(clock, *, steps, patches, step=0):
    """A meter in an epoch of batches of 10, and a function that does a step."""
    progress = types.SimpleNamespace(step=step)
    meter = PaceMeter(progress, lambda: clock.waited, patches=patches, batch_size=10, steps=steps)
    meter.on_train_begin()
    meter.on_epoch_begin(0)

    def do(seconds, waited):
        clock.seconds += seconds
        clock.waited += waited
        progress.step += 1
        meter.on_train_batch_end(0)
        return meter.pace()

    return meter, progress, do


def test_pace_is_of_the_steps_after_the_first_and_without_validation(clock):
    meter, progress, do = meter_of(clock, steps=3, patches=23)
    assert meter.pace() is None
    assert do(50, 40) is None
    assert do(1, 0.5) == Pace(10.0, 0.5)
    # The last batch has 3 patches.
    assert do(1, 0.1) == Pace(pytest.approx(13 / 2), pytest.approx(0.3))
    # Validation, and the end of the epoch.
    clock.seconds += 1000
    progress.step = 0
    assert meter.pace() == Pace(pytest.approx(13 / 2), pytest.approx(0.3))
    # The next one counts its first step too.
    meter.on_epoch_begin(1)
    assert meter.pace() is None
    assert do(2, 0) == Pace(5.0, 0.0)


def test_an_epoch_that_goes_on_counts_its_own_steps(clock):
    _, _, do = meter_of(clock, steps=9, patches=90, step=4)
    assert do(50, 40) is None
    assert do(2, 1) == Pace(5.0, 0.5)


def test_there_is_no_pace_of_one_step_alone(clock):
    assert meter_of(clock, steps=1, patches=10)[2](1, 0) is None


def test_a_share_is_at_most_all(clock):
    _, _, do = meter_of(clock, steps=9, patches=90)
    do(1, 1)
    assert do(1, 1.0001).waiting == 1.0


def test_pace_in_words():
    assert str(Pace(12345.6, 0.0349)) == "12,346 patches/s, 3 % waiting for input"
