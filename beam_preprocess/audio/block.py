"""Why a file cannot be used.

What decoders hand on.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

REASONS = (
    *("unreadable", "undecodable", "unsupported_format", "truncated", "unsupported_rate", "not_finite", "empty"),
    *("too_short", "too_long"),
)


class Reject(Exception):  # noqa: N818 - an outcome with a name of its own, not a fault of the program
    """An input that cannot be used.

    Attributes:
      reason: one word, counted and printed (REASONS).
      detail: what was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class NoRoom(Reject):
    """The temporary directory does not take what is needed of a file: no fault of the file."""


class DecodeError(Exception):
    """A decoder cannot make anything of a file, or of the rest of it; another one may."""


def unreadable(error: OSError) -> Reject:
    """The reject of a file that a disk or a store could not give."""
    return Reject("unreadable", error.strerror or str(error))


def no_room(error: OSError) -> NoRoom:
    """The reject of a file that could not be copied to the temporary directory."""
    return NoRoom("unreadable", f"the temporary directory: {error.strerror or error}")


# A file with a lying header can ask for any rate; outside this range no audio is made, and resampling would explode.
_MIN_RATE_HZ, _MAX_RATE_HZ = 1_000, 384_000


class Block(NamedTuple):
    """Some of a file's audio.

    Attributes:
      channels: [samples] float32 of each channel, at full scale from -1 to 1.
      rate: Hz.
    """

    channels: tuple[np.ndarray, ...]
    rate: int

    @property
    def samples(self) -> int:
        """Samples of a channel."""
        return len(self.channels[0])


def check_rate(rate: int) -> None:
    """Raises Reject for a sample rate (Hz) that no audio has."""
    if not _MIN_RATE_HZ <= rate <= _MAX_RATE_HZ:
        raise Reject("unsupported_rate", f"{rate} Hz")


def after(found: Iterator[Block], samples: int) -> Iterator[Block]:
    """The blocks without the first so many samples."""
    for block in found:
        if samples >= block.samples:
            samples -= block.samples
        else:
            yield Block(tuple(channel[samples:] for channel in block.channels), block.rate)
            samples = 0
