"""Progress of a job on this machine: tracks done of total, rejects, speed; one line on a terminal, a few in a log."""

import threading
import time
from pathlib import Path
from typing import Self, TextIO

from beam_preprocess.plan import Plan
from beam_preprocess.write_shard import ShardResult, sidecar
from tfrecords.common.terminal import TerminalLine

_POLL_S = 0.5
_LOG_EVERY_S = 10.0


class Progress:
    """Watches the results of finished shards appear, in a thread, while the block runs.

    It looks at files, so it works for threads, processes and engines alike, as long as the output is on this machine.
    """

    def __init__(self, output: Path, plan: Plan, stream: TextIO | None = None) -> None:
        self._folder = (output / sidecar("")).parent
        self._waiting = self._names(plan)
        self._total = plan.num_tracks
        self._terminal = TerminalLine(stream)
        self._tracks = self._rejects = 0
        self._audio_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _names(self, plan: Plan) -> set[str]:
        """The files whose appearance says that a shard is done."""
        return {Path(sidecar(shard.file)).name for shard in plan.shards}

    def _counts(self, text: str) -> tuple[int, int, float]:
        """Good tracks, rejects and seconds of audio of a shard, from the text of its file."""
        result = ShardResult.from_json(text)
        return sum(result.tracks.values()), len(result.rejects), result.audio_s

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._look()
        self._kept_audio_s = self._audio_s
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._terminal.clear()

    def _watch(self) -> None:
        written = time.monotonic()
        while not self._stop.wait(_POLL_S):
            self._look()
            if self._terminal.drawn:
                self._terminal.show(self.line())
            elif time.monotonic() - written > _LOG_EVERY_S:
                written = time.monotonic()
                print(self.line(), file=self._terminal.stream, flush=True)

    def _look(self) -> None:
        # One listing: to ask for each of ten thousand files, twice a second, would keep a core busy.
        there = {path.name for path in self._folder.iterdir()} if self._folder.is_dir() else set()
        for name in self._waiting & there:
            try:
                tracks, rejects, audio_s = self._counts((self._folder / name).read_text("utf-8"))
            except (OSError, KeyError, TypeError, ValueError):
                continue
            self._waiting.discard(name)
            self._tracks += tracks
            self._rejects += rejects
            self._audio_s += audio_s

    def line(self) -> str:
        """What is done so far."""
        done = self._tracks + self._rejects
        speed = (self._audio_s - self._kept_audio_s) / max(1e-3, time.monotonic() - self._began)
        return f"{done} of {self._total} tracks, {self._rejects} rejected, {speed:,.0f} times real time"
