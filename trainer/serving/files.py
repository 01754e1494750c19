"""Audio files named on a command line, and the genres of many of them: decoded by threads, answered in order."""

import dataclasses
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import threadpoolctl
from tqdm import tqdm

from beam_preprocess.audio import Reject
from beam_preprocess.audio.formats import COMMON_FORMATS, Selection, walk
from tfrecords import storage
from trainer.serving.recognizer import DecodedTrack, Recognition, Recognizer

# Files per thread that are being decoded or wait for the model.
_AHEAD = 4
# Fewer files are done before anyone needs a progress bar.
_MIN_FILES_FOR_PROGRESS = 11


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A file to recognize.

    Attributes:
      path: as given, or below the folder that was given.
      reject: why it cannot be used, where that is already known.
    """

    path: str
    reject: Reject | None = None


def list_inputs(arguments: Sequence[str]) -> list[InputFile]:
    """Return the files in the order of the arguments, those of a folder by path; what cannot be listed is a reject.

    Of a folder, the files that a preprocessing job would read are taken; the number of others is printed to standard
    error.
    """
    inputs: list[InputFile] = []
    for argument in arguments:
        if storage.scheme_of(argument) is not None:
            inputs.extend(_list_url(argument))
            continue
        inputs.extend(_list_folder(argument) if os.path.isdir(argument) else [InputFile(argument)])  # noqa: PTH112
    return inputs


def _list_url(url: str) -> list[InputFile]:
    """Return the audio in and below a directory of a store, or the file itself."""
    selection = Selection()
    try:
        path = storage.plain(url)
        if not storage.is_remote(path):
            return list_inputs([path])
        if storage.size(url) is not None:
            return [InputFile(url)]
        found = [uri for uri, _ in storage.walk(url) if selection.takes(uri[len(url.rstrip("/")) + 1 :], None)]
    except OSError as error:
        return [InputFile(url, Reject("unreadable", error.strerror or str(error)))]
    return [InputFile(uri) for uri in found] or [InputFile(url)]


def _list_folder(folder: str) -> list[InputFile]:
    inputs: list[InputFile] = []

    def add_reject(error: OSError) -> None:
        inputs.append(InputFile(os.fspath(error.filename), Reject("unreadable", error.strerror or str(error))))

    selection = Selection()
    inputs.extend(map(InputFile, walk(folder, selection, add_reject)))
    inputs.sort(key=lambda file: file.path)
    if not inputs:
        others = f"; there are {selection.kinds()}" if selection.others else ""
        return [InputFile(folder, Reject("unreadable", f"a folder without audio{others} (read is {COMMON_FORMATS})"))]
    if selection.others:
        print(f"{folder}: {selection.describe()}", file=sys.stderr, flush=True)
    return inputs


def open_audio(path: str) -> BinaryIO:
    """Open a file for reading.

    Raises:
      Reject: the file is missing, may not be read, or is not a regular file: a pipe could block for ever.
    """
    try:
        return storage.open_file(path)
    except (OSError, ValueError) as error:
        raise Reject("unreadable", getattr(error, "strerror", None) or str(error)) from error


def recognize_with_progress(
    recognizer: Recognizer, files: Sequence[InputFile], *, max_duration_s: float
) -> Iterator[tuple[str, Recognition | Reject]]:
    """Recognize files as `recognize_all` does, with a progress bar if there are many, below what the caller prints."""
    audio_s = 0.0
    # None: shown on a terminal only.
    disable = None if len(files) >= _MIN_FILES_FOR_PROGRESS else True
    with tqdm(total=len(files), unit="file", leave=False, dynamic_ncols=True, disable=disable) as progress:
        for path, answer in recognize_all(recognizer, files, max_duration_s=max_duration_s):
            with tqdm.external_write_mode():
                yield path, answer
            if isinstance(answer, Recognition):
                audio_s += answer.duration_s
            if not progress.disable:
                speed = audio_s / max(1e-3, progress.format_dict["elapsed"])
                progress.set_postfix_str(f"{speed:,.0f} times real time", refresh=False)
            progress.update()


def recognize_all(
    recognizer: Recognizer, files: Sequence[InputFile], *, max_duration_s: float, threads: int | None = None
) -> Iterator[tuple[str, Recognition | Reject]]:
    """Recognize many files, in order; each result is given as soon as it and those before it are known.

    Decoding and the front end mostly run without Python's lock, so that threads use all cores; meanwhile the model
    classifies what has been decoded.

    Args:
      recognizer: the trained job.
      files: what to recognize.
      max_duration_s: longer audio is rejected.
      threads: number of decoding threads; by default the number of cores.

    Yields:
      (path, recognition or reject).
    """
    threads = threads or os.cpu_count() or 1

    def decode(file: InputFile) -> DecodedTrack | Reject:
        try:
            if file.reject is not None:
                return file.reject
            with open_audio(file.path) as opened:
                return recognizer.decode(opened, max_duration_s=max_duration_s, name=file.path)
        except Reject as reject:
            return reject

    pool = ThreadPoolExecutor(threads)
    # The threads of BLAS would compete with the decoding threads for the cores.
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        try:
            waiting: deque[Future[DecodedTrack | Reject]] = deque()
            submitted = answered = 0
            while answered < len(files):
                for file in files[submitted : answered + _AHEAD * threads]:
                    waiting.append(pool.submit(decode, file))
                    submitted += 1
                decoded = [waiting.popleft().result()]
                while waiting and waiting[0].done():
                    decoded.append(waiting.popleft().result())
                for answer in _classify(recognizer, decoded):
                    yield files[answered].path, answer
                    answered += 1
        finally:
            pool.shutdown(cancel_futures=True)


def _classify(recognizer: Recognizer, decoded: Sequence[DecodedTrack | Reject]) -> list[Recognition | Reject]:
    recognitions = iter(recognizer.classify([one for one in decoded if not isinstance(one, Reject)]))
    return [one if isinstance(one, Reject) else next(recognitions) for one in decoded]
