import io
import os
import pty
import termios
import types

import pytest

from trainer.training import progress
from trainer.training.progress import Pace, PaceMeter, ProgressLines

LOGS = {"loss": 1.23456, "accuracy": 0.5}
ENDED = LOGS | {"val_loss": 2.0, "val_accuracy": 0.25}
PACE = Pace(8123.4, 0.034)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, to be set."""
    now = types.SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


def lines_of(to, *, steps=10, validates=True):
    """The callback, and a function that ends a step."""
    progress = types.SimpleNamespace(history=[{}, {}], step=0)
    meter = types.SimpleNamespace(pace=lambda: PACE if progress.step != 1 else None)
    callback = ProgressLines(progress, meter, epochs=7, steps=steps, validates=validates, to=to)
    callback.on_epoch_begin(2)

    def end_step():
        progress.step += 1
        callback.on_train_batch_end(progress.step - 1, LOGS)

    return callback, progress, end_step


def test_a_log_has_one_line_per_epoch(clock):
    callback, progress, end_step = lines_of(to := io.StringIO())
    for _ in range(10):
        end_step()
    progress.step = 0
    callback.on_epoch_end(2, ENDED)
    callback.clear()
    assert to.getvalue() == (
        "epoch 3 of 7: loss 1.235, accuracy 0.500; validation loss 2.000, accuracy 0.250; "
        "8,123 patches/s, 3 % waiting for input\n"
    )


def test_without_validation_nothing_is_said_of_it(clock):
    callback, progress, end_step = lines_of(to := Terminal(), steps=1, validates=False)
    end_step()
    progress.step = 0
    callback.on_epoch_end(2, LOGS)
    said = to.getvalue()
    assert "validat" not in said and "1/1: loss 1.235" in said
    assert said.endswith("epoch 3 of 7: loss 1.235, accuracy 0.500; 8,123 patches/s, 3 % waiting for input\n")


def test_a_log_has_a_line_now_and_then_in_a_long_epoch(clock):
    _, _, end_step = lines_of(to := io.StringIO())
    for seconds in (0, 59.9, 60, 61, 119, 120.1):
        clock.seconds = seconds
        end_step()
    means = "loss 1.235, accuracy 0.500; 8,123 patches/s, 3 % waiting for input"
    assert to.getvalue() == f"epoch 3 of 7, step 3 of 10: {means}\nepoch 3 of 7, step 6 of 10: {means}\n"


def test_a_terminal_has_a_bar_that_is_drawn_over(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    callback, progress, end_step = lines_of(to := Terminal())
    clock.seconds = 1
    end_step()
    end_step()
    clock.seconds = 1.25
    end_step()
    drawn = to.getvalue().split("\r")
    means = "loss 1.235, accuracy 0.500"
    # Too soon after the first, the second step is not drawn. There is no pace of one step.
    assert drawn == [
        "",
        f"\x1b[Kepoch 3/7 [==                  ] 1/10: {means}",
        f"\x1b[Kepoch 3/7 [======              ] 3/10: {means}; 8,123 patches/s, 3 % waiting",
    ]
    for _ in range(7):
        end_step()
    assert to.getvalue().split("\r")[-1].startswith("\x1b[Kepoch 3/7 [====================] validating: loss")
    progress.step = 0
    callback.on_epoch_end(2, ENDED)
    *_, cleared = to.getvalue().split("\r")
    assert cleared.startswith("\x1b[Kepoch 3 of 7: loss ") and cleared.endswith("% waiting for input\n")


def test_steps_that_are_short_are_not_all_drawn(clock):
    _, _, end_step = lines_of(to := Terminal(), steps=10000)
    for number in range(1000):
        clock.seconds = number * 0.008
        end_step()
    # Eight seconds, five times a second at most.
    assert 35 <= to.getvalue().count("\r") <= 40


@pytest.mark.parametrize(
    ("columns", "drawn"),
    [
        (100, "epoch 3/7 [====                ] 2/10: loss 1.235, accuracy 0.500; 8,123 patches/s, 3 % waiting"),
        (84, "epoch 3/7 [=       ] 2/10: loss 1.235, accuracy 0.500; 8,123 patches/s, 3 % waiting"),
        (80, "epoch 3/7 2/10: loss 1.235, accuracy 0.500; 8,123 patches/s, 3 % waiting"),
        (60, "epoch 3/7 2/10: loss 1.235, accuracy 0.500; 8,123 patches/s"),
    ],
)
def test_a_bar_is_no_longer_than_the_terminal_is_wide(clock, monkeypatch, columns, drawn):
    monkeypatch.setenv("COLUMNS", str(columns))
    _, _, end_step = lines_of(to := Terminal())
    end_step()
    clock.seconds = 1
    end_step()
    assert to.getvalue() == f"\r\x1b[K{drawn}"


def test_the_width_is_that_of_the_terminal_whatever_the_environment_says(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 60))
    with os.fdopen(theirs, "w") as stream:
        _, _, end_step = lines_of(stream)
        clock.seconds = 1
        end_step()
        assert os.read(ours, 200).decode() == "\r\x1b[Kepoch 3/7 [=             ] 1/10: loss 1.235, accuracy 0.500"
    os.close(ours)


@pytest.fixture
def pace_clock(monkeypatch):
    """Seconds that have gone by, and those spent waiting."""
    now = types.SimpleNamespace(seconds=100.0, waited=7.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now.seconds)
    return now


def meter_of(pace_clock, *, steps, patches, step=0):
    """A meter in an epoch of batches of 10, and a function that does a step."""
    progress = types.SimpleNamespace(step=step)
    meter = PaceMeter(progress, lambda: pace_clock.waited, patches=patches, batch_size=10, steps=steps)
    meter.on_train_begin()
    meter.on_epoch_begin(0)

    def do(seconds, waited):
        pace_clock.seconds += seconds
        pace_clock.waited += waited
        progress.step += 1
        meter.on_train_batch_end(0)
        return meter.pace()

    return meter, progress, do


def test_pace_is_of_the_steps_after_the_first_and_without_validation(pace_clock):
    meter, progress, do = meter_of(pace_clock, steps=3, patches=23)
    assert meter.pace() is None
    assert do(50, 40) is None
    assert do(1, 0.5) == Pace(10.0, 0.5)
    # The last batch has 3 patches.
    assert do(1, 0.1) == Pace(pytest.approx(13 / 2), pytest.approx(0.3))
    # Validation, and the end of the epoch.
    pace_clock.seconds += 1000
    progress.step = 0
    assert meter.pace() == Pace(pytest.approx(13 / 2), pytest.approx(0.3))
    # The next one counts its first step too.
    meter.on_epoch_begin(1)
    assert meter.pace() is None
    assert do(2, 0) == Pace(5.0, 0.0)


def test_an_epoch_that_goes_on_counts_its_own_steps(pace_clock):
    _, _, do = meter_of(pace_clock, steps=9, patches=90, step=4)
    assert do(50, 40) is None
    assert do(2, 1) == Pace(5.0, 0.5)


def test_there_is_no_pace_of_one_step_alone(pace_clock):
    assert meter_of(pace_clock, steps=1, patches=10)[2](1, 0) is None


def test_a_share_is_at_most_all(pace_clock):
    _, _, do = meter_of(pace_clock, steps=9, patches=90)
    do(1, 1)
    assert do(1, 1.0001).waiting == 1.0


def test_pace_in_words():
    assert str(Pace(12345.6, 0.0349)) == "12,346 patches/s, 3 % waiting for input"
