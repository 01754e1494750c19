"""Progress of a job whose output is on this machine: a bar on a terminal, a line now and then in a log."""

import contextlib
import sys
import threading
import time
from pathlib import Path
from typing import Self, TextIO

from tqdm import tqdm

from beam_preprocess import storage
from beam_preprocess.plan import Plan
from beam_preprocess.shards import Result, sidecar

_POLL_S = 0.5
_LOG_EVERY_S = 10.0


class Progress:
    """Shows tracks done, rejects and speed while the block runs.

    A thread watches for the results of finished shards. As these are files, it works with threads, processes and other
    engines alike.

    Args:
      output: the job's output.
      plan: the job's plan.
      stream: where to show it; by default standard error.
      result_type: of the results.
    """

    def __init__(self, output: Path, plan: Plan, stream: TextIO | None = None, *, result_type: type[Result]) -> None:
        self._folder = (output / sidecar("")).parent
        self._waiting = {Path(sidecar(shard.file)).name for shard in plan.shards}
        self._result_type = result_type
        self._total = plan.num_tracks
        self._stream = stream or sys.stderr
        self._tracks = self._rejects = 0
        self._audio_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @classmethod
    def of(
        cls, output: str, plan: Plan, stream: TextIO, *, result_type: type[Result]
    ) -> contextlib.AbstractContextManager[object]:
        """Return the progress of a job; where its output is not on this machine, a context that shows nothing."""
        path = storage.local_path(output)
        return cls(path, plan, stream, result_type=result_type) if path else contextlib.nullcontext()

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._look()
        # Shards that an earlier run finished count as done, but not as speed.
        self._initial_audio_s = self._audio_s
        self._bar = tqdm(
            total=self._total,
            initial=self._tracks + self._rejects,
            unit=" tracks",
            file=self._stream,
            leave=False,
            dynamic_ncols=True,
            disable=not self._stream.isatty(),
        )
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._bar.close()

    def _watch(self) -> None:
        logged = time.monotonic()
        while not self._stop.wait(_POLL_S):
            self._look()
            if not self._bar.disable:
                self._bar.n = self._tracks + self._rejects
                self._bar.set_postfix_str(self._details())
            elif time.monotonic() - logged > _LOG_EVERY_S:
                logged = time.monotonic()
                print(self.line(), file=self._stream, flush=True)

    def _look(self) -> None:
        # One listing: a stat of each of ten thousand files, twice a second, would keep a core busy.
        names = {path.name for path in self._folder.iterdir()} if self._folder.is_dir() else set()
        for name in self._waiting & names:
            try:
                result = self._result_type.from_json((self._folder / name).read_text("utf-8"))
            except (OSError, KeyError, TypeError, ValueError):
                continue
            self._waiting.discard(name)
            self._tracks += result.num_tracks
            self._rejects += len(result.rejects)
            self._audio_s += result.audio_s

    def _details(self) -> str:
        speed = (self._audio_s - self._initial_audio_s) / max(1e-3, time.monotonic() - self._began)
        return f"{self._rejects} rejected, {speed:,.0f} times real time"

    def line(self) -> str:
        """Return what is done so far, as the line of a log."""
        return f"{self._tracks + self._rejects} of {self._total} tracks, {self._details()}"
