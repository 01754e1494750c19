"""The audio files that a command line names: files as they are, folders with all audio in them.

How far a command has come with a long list of files, on a terminal.

Many files through one recognizer: decoded by threads, judged some at a time, answered in order.
"""

import dataclasses
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, TextIO

import threadpoolctl

from beam_preprocess.audio import Reject
from beam_preprocess.audio.formats import COMMON_FORMATS, Selection, walk
from tfrecords.common.files import open_regular
from tfrecords.common.terminal import TerminalLine
from trainer.serving.recognizer import DecodedTrack, Recognition, Recognizer


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A file to be looked at.

    Attributes:
      path: as it was named, or below the folder that was named.
      reject: why it is already known to be of no use.
    """

    path: str
    reject: Reject | None = None


def list_inputs(arguments: Sequence[str]) -> list[InputFile]:
    """Return the files in the order of the arguments, those of a folder by path; what cannot be listed says why.

    Of a folder those are taken that a preprocessing job takes; how many others it holds is said on standard error.
    """
    found: list[InputFile] = []
    for argument in arguments:
        found.extend(_in_folder(argument) if os.path.isdir(argument) else [InputFile(argument)])  # noqa: PTH112
    return found


def _in_folder(folder: str) -> list[InputFile]:
    found: list[InputFile] = []

    def fail(error: OSError) -> None:
        found.append(InputFile(os.fspath(error.filename), Reject("unreadable", error.strerror or str(error))))

    selection = Selection()
    found.extend(map(InputFile, walk(folder, selection, fail)))
    found.sort(key=lambda named: named.path)
    if not found:
        there = f"; there are {selection.kinds()}" if selection.others else ""
        return [InputFile(folder, Reject("unreadable", f"a folder without audio{there} (read is {COMMON_FORMATS})"))]
    if selection.others:
        print(f"{folder}: {selection.describe()}", file=sys.stderr, flush=True)
    return found


def open_audio(path: str) -> BinaryIO:
    """Opens a file for reading.

    Raises:
      Reject: it is not there, may not be read, or is no file of bytes: a pipe could keep its reader waiting for ever.
    """
    try:
        return open_regular(path)
    except (OSError, ValueError) as error:
        raise Reject("unreadable", getattr(error, "strerror", None) or str(error)) from error


# A shorter list is through before anyone asks.
_LONG = 10


class ProgressLine:
    """One line at the bottom of a terminal; nothing for short lists, and nothing in a log.

    Args:
      total: files.
      stream: by default standard error.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._line = TerminalLine(stream)
        self._shown = total > _LONG
        self._total = total
        self._files, self._audio_s = 0, 0.0
        self._began = time.monotonic()

    def clear(self) -> None:
        """Makes room for a line that is to stay."""
        if self._shown:
            self._line.clear()

    def add(self, audio_s: float) -> None:
        """One more file is done, with so much audio."""
        self._files += 1
        self._audio_s += audio_s
        speed = self._audio_s / max(1e-3, time.monotonic() - self._began)
        if self._shown:
            self._line.show(f"{self._files} of {self._total} files, {speed:,.0f} times real time")


# Files that are decoded or wait for the model, for each thread.
_AHEAD = 4


def recognize_all(
    recognizer: Recognizer, files: Sequence[InputFile], *, max_duration_s: float, threads: int | None = None
) -> Iterator[tuple[str, Recognition | Reject]]:
    """The answer for each file, in their order, each as soon as it and those before it are known.

    Decoding and the front end leave Python's lock most of the time, so that threads use all cores; in the meantime the
    model judges what is ready.

    Args:
      recognizer: the trained job.
      files: what to answer for.
      max_duration_s: more audio than this is rejected.
      threads: that decode; by default as many as there are cores.

    Yields:
      (path, what the model says, or why it says nothing).
    """
    threads = threads or os.cpu_count() or 1

    def hear(file: InputFile) -> DecodedTrack | Reject:
        try:
            if file.reject is not None:
                return file.reject
            with open_audio(file.path) as opened:
                return recognizer.hear(opened, max_duration_s=max_duration_s, name=file.path)
        except Reject as reject:
            return reject

    pool = ThreadPoolExecutor(threads)
    # Threads of their own would only get in the way of these.
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        try:
            ahead: deque[Future[DecodedTrack | Reject]] = deque()
            submitted = answered = 0
            while answered < len(files):
                for file in files[submitted : answered + _AHEAD * threads]:
                    ahead.append(pool.submit(hear, file))
                    submitted += 1
                ready = [ahead.popleft().result()]
                while ahead and ahead[0].done():
                    ready.append(ahead.popleft().result())
                for answer in _judged(recognizer, ready):
                    yield files[answered].path, answer
                    answered += 1
        finally:
            pool.shutdown(cancel_futures=True)


def _judged(recognizer: Recognizer, ready: Sequence[DecodedTrack | Reject]) -> list[Recognition | Reject]:
    recognitions = iter(recognizer.judge([one for one in ready if not isinstance(one, Reject)]))
    return [one if isinstance(one, Reject) else next(recognitions) for one in ready]
