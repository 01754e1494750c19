"""Stops a training on SIGTERM, as when a preemptible machine is reclaimed, or on Ctrl-C.

During steps, validation and the end of an epoch a signal only sets a flag; a callback (trainer.training.callbacks)
saves the state and stops. At any other time, such as during imports or the first step's tracing, there is nothing new
to save, and the process exits at once with a message and its status (tfrecords.common.shutdown). Files are written
under temporary names, so none is ever half there. A second signal always ends the process at once.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from tfrecords.common import shutdown

# EX_TEMPFAIL of sysexits.h: "temporary failure, the user is invited to retry". No shell gives this status of itself, so
# that whoever started the training may tell a stop from a mistake (2), a crash (1) or a kill (137, 143), and go on.
STOPPED_STATUS = 75
# A loop that repeats what was preempted has to end with Ctrl-C.
INTERRUPTED_STATUS = shutdown.INTERRUPTED_STATUS
BEFORE_A_STEP = "before its next step"
GOING_ON = "the same command goes on from there"


class Stopped(BaseException):
    """A training has been stopped by a signal, and its state is saved. No error, and not to be caught as one."""


class Stop:
    """A request to stop. It is set only within `on_signals`; elsewhere, as in workers, signals act as usual.

    Attributes:
      requested: the signal that was received, or None.
      deferred: whether a callback checks `requested` between steps; if not, a signal ends the process at once.
      resuming: how to resume the training, as the end of the exit message.
    """

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None
        self.deferred = False
        self.resuming = GOING_ON
        self._what = ""

    def check(self, where: str = BEFORE_A_STEP) -> None:
        """Raises Stopped if it was asked for; `where` is how far the training is, as a part of a sentence."""
        if self.requested is not None:
            raise Stopped(self._sentence(self.requested, where))

    @property
    def status(self) -> int:
        """The exit status of a process that was stopped."""
        return INTERRUPTED_STATUS if self.requested == signal.SIGINT else STOPPED_STATUS

    @contextlib.contextmanager
    def on_signals(self, what: str) -> Iterator["Stop"]:
        """SIGTERM and SIGINT ask for it within the block; `what` begins the sentence that tells of it.

        Signals that something else handles, or that are ignored (SIGINT, in the background of a shell), stay as they
        are; so do all in other threads than the main one, which alone may set handlers.
        """
        self._what = what
        with shutdown.signal_handler(self._note):
            yield self

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested is not None, signal.Signals(number)
        if again or not self.deferred:
            shutdown.end(self._sentence(self.requested, BEFORE_A_STEP), self.status)

    def _sentence(self, by: signal.Signals, where: str) -> str:
        return f"{self._what}: stopped by {by.name} {where}; {self.resuming}"
