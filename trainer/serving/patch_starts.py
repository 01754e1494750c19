"""Which patches of a recording its genre is judged by: those that evaluation reads from the recording's records."""

import numpy as np

from beam_preprocess.segments import segment_lengths


def patch_starts(frames: int, patch_frames: int) -> np.ndarray:
    """The frame at which each patch begins: one after the other, in each piece that is a record.

    What follows the last whole patch of a piece is left out. There is one piece, the recording, up to
    beam_preprocess.segments.MAX_RECORD_FRAMES.

    Args:
      frames: of the whole spectrogram.
      patch_frames: of a patch.

    Returns:
      [patches] int64, rising; empty where no piece holds a patch.
    """
    starts: list[int] = []
    first = 0
    for length in segment_lengths(frames):
        starts.extend(range(first, first + length - patch_frames + 1, patch_frames))
        first += length
    return np.array(starts, np.int64)
