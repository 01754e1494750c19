"""Many files through one recognizer: decoded by threads, judged some at a time, answered in order."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import threadpoolctl

from beam_preprocess.audio import Reject
from trainer.serving.files import Named, open_audio
from trainer.serving.recognizer import Heard, Recognition, Recognizer

# Files that are decoded or wait for the model, for each thread.
_AHEAD = 4


def recognize_all(
    recognizer: Recognizer, files: Sequence[Named], *, max_duration_s: float, threads: int | None = None
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

    def hear(file: Named) -> Heard | Reject:
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
            ahead: deque[Future[Heard | Reject]] = deque()
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


def _judged(recognizer: Recognizer, ready: Sequence[Heard | Reject]) -> list[Recognition | Reject]:
    recognitions = iter(recognizer.judge([one for one in ready if not isinstance(one, Reject)]))
    return [one if isinstance(one, Reject) else next(recognitions) for one in ready]
