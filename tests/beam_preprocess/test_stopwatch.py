import types

import pytest

from beam_preprocess import write_shard as module
from beam_preprocess.write_shard import Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """Time that goes by as a test says."""
    now = types.SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now.seconds)
    return now


def slow(clock, items, seconds):
    for item in items:
        clock.seconds += seconds
        yield item


def test_nested_activities_are_counted_once(clock):
    stopwatch = Stopwatch("write")
    clock.seconds += 1
    decoded = stopwatch.iterate("decode", slow(clock, range(3), 8))
    for _ in stopwatch.iterate("transform", slow(clock, decoded, 16)):
        clock.seconds += 64
    clock.seconds += 2
    assert stopwatch.stop() == {"write": 1 + 3 * 64 + 2, "transform": 3 * 16, "decode": 3 * 8}


def test_an_error_passes_and_the_outer_activity_goes_on(clock):
    stopwatch = Stopwatch("write")

    def failing():
        clock.seconds += 4
        yield 1
        raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"):
        list(stopwatch.iterate("decode", failing()))
    clock.seconds += 2
    assert stopwatch.stop() == {"write": 2, "decode": 4}
