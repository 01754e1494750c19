"""What decoders hand on."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from beam_preprocess.audio.reject import Reject

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
