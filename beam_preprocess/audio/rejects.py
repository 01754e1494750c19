"""Why a file is rejected, and a block of decoded audio."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# Why a file cannot be used.
REASONS = (
    *("unreadable", "undecodable", "unsupported_format", "truncated", "unsupported_rate", "not_finite", "empty"),
    *("too_short", "too_long"),
)
# A damaged header can ask for any rate; outside this range there is no audio, and resampling would explode.
_MIN_RATE_HZ, _MAX_RATE_HZ = 1_000, 384_000


class Reject(Exception):  # noqa: N818 - an expected outcome, not a fault of the program
    """A file that cannot be used.

    Attributes:
      reason: one of REASONS; rejects are counted by it.
      detail: what was found, in a few words.

    Example:
      >>> Reject("too_short", "0.2 s, a patch is 1.86 s").reason
      'too_short'
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class NoRoom(Reject):
    """A file that could not be copied to the temporary directory; nothing is wrong with the file."""


class DecodeError(Exception):
    """A decoder cannot read a file, or the rest of it; another decoder may."""


class Block(NamedTuple):
    """A stretch of a file's audio.

    Attributes:
      channels: one array of [samples] float32 for each channel; full scale is -1 to 1.
      rate: sample rate in Hz.
    """

    channels: tuple[np.ndarray, ...]
    rate: int

    @property
    def samples(self) -> int:
        """Samples of each channel."""
        return len(self.channels[0])


def unreadable(error: OSError) -> Reject:
    """Return the reject of a file that a disk or a store failed to read."""
    return Reject("unreadable", error.strerror or str(error))


def no_room(error: OSError) -> NoRoom:
    """Return the reject of a file that could not be copied to the temporary directory."""
    return NoRoom("unreadable", f"the temporary directory: {error.strerror or error}")


def check_rate(rate: int) -> None:
    """Raise Reject ("unsupported_rate") for a sample rate, in Hz, that no audio has."""
    if not _MIN_RATE_HZ <= rate <= _MAX_RATE_HZ:
        raise Reject("unsupported_rate", f"{rate} Hz")


def skip_samples(blocks: Iterator[Block], samples: int) -> Iterator[Block]:
    """Yield the blocks without the first `samples` samples of each channel."""
    for block in blocks:
        if samples >= block.samples:
            samples -= block.samples
        else:
            yield Block(tuple(channel[samples:] for channel in block.channels), block.rate)
            samples = 0
