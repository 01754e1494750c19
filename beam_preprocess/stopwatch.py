"""Where a worker's time goes."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")


class Stopwatch:
    """Adds up seconds by activity; an activity inside another is not counted twice.

    Attributes:
      seconds: activity -> seconds.
    """

    def __init__(self, activity: str) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._activity = activity
        self._since = time.perf_counter()

    def iterate(self, activity: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yields the items, and counts the time that making them takes as an activity."""
        iterator = iter(items)
        while True:
            outer = self._switch(activity)
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self._switch(outer)
            yield item

    def stop(self) -> dict[str, float]:
        """Seconds by activity, up to now."""
        self._switch(self._activity)
        return dict(self.seconds)

    def _switch(self, activity: str) -> str:
        before, now = self._activity, time.perf_counter()
        self.seconds[before] += now - self._since
        self._activity, self._since = activity, now
        return before
