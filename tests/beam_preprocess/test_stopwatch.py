import time

import pytest

from beam_preprocess.stopwatch import Stopwatch

WAIT_S = 0.02


def slow(items, wait_s=WAIT_S):
    for item in items:
        time.sleep(wait_s)
        yield item


def test_nested_activities_are_counted_once():
    stopwatch = Stopwatch("write")
    began = time.perf_counter()
    for _ in stopwatch.iterate("transform", slow(stopwatch.iterate("decode", slow(range(3))))):
        time.sleep(2 * WAIT_S)
    seconds = stopwatch.stop()
    assert set(seconds) == {"decode", "transform", "write"}
    assert sum(seconds.values()) == pytest.approx(time.perf_counter() - began, abs=WAIT_S / 2)
    assert min(seconds["decode"], seconds["transform"]) >= 3 * WAIT_S
    assert seconds["write"] >= 6 * WAIT_S
    assert seconds["decode"] < seconds["write"]


def test_an_error_passes_and_the_outer_activity_goes_on():
    stopwatch = Stopwatch("write")

    def failing():
        yield 1
        raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"):
        list(stopwatch.iterate("decode", failing()))
    time.sleep(WAIT_S)
    assert stopwatch.stop()["write"] >= WAIT_S
