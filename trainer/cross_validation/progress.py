"""How far the trainings of a cross-validation are, in a line for each."""

from collections import defaultdict
from collections.abc import Iterable

from trainer.cross_validation.fold_run import Done
from trainer.cross_validation.plan import Run


class Progress:
    """Counts what ends, and estimates how long the rest will take."""

    def __init__(self, left: Iterable[Run], *, total: int, processes: int) -> None:
        """Begins before the first of the runs that are left of `total`, `processes` at a time."""
        self._left = set(left)
        self._total = total
        self._processes = processes
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def line(self, run: Run, done: Done) -> str:
        """What to print when a run has ended."""
        self._left.remove(run)
        self._seconds[run.model].append(done.seconds)
        rest = f"; about {duration(self._rest_s())} left" if self._left else ""
        kept = "last kept" if done.best_epoch is None else f"best {done.best_epoch}"
        epochs = f"{done.epochs} epoch{'s' if done.epochs > 1 else ''} ({kept})"
        return (
            f"{self._total - len(self._left)} of {self._total}: {run}: {100 * done.accuracy:.1f} % of {done.tracks} "
            f"tracks, {epochs}, {duration(done.seconds)}{rest}"
        )

    def _rest_s(self) -> float:
        """As long as the runs of the same model took, or of all models where none of it has ended."""
        every = [seconds for own in self._seconds.values() for seconds in own]
        likely = [self._seconds.get(run.model, every) for run in self._left]
        return sum(sum(seconds) / len(seconds) for seconds in likely) / self._processes


def duration(seconds: float) -> str:
    """A time in the unit that suits it: "42 s", "18 min", "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
