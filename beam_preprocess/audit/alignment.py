"""Whether two fingerprints are of one recording, and how they lie to each other."""

import dataclasses

import numpy as np

from beam_preprocess.audit.fingerprint import BITS, FRAMES_PER_S, NO_WORD

# Share of differing bits up to which two tracks are one recording. Copies have 0.15 at most, other pairs that share
# words by chance 0.4 or more (Haitsma and Kalker take 0.35 for the worse copies that telephones make).
MAX_ERROR_RATE = 0.25
# Least time that two tracks must have in common, silence left out: the paper's 3 s.
MIN_OVERLAP_S = 3.0
# Places at which alignments are tried: those that most words agree on, each with the frames beside it.
_TRIED = 5
# A loop has the same word again and again; so many of them count.
_MOST_REPEATS = 8


@dataclasses.dataclass(frozen=True)
class Alignment:
    """How two tracks lie to each other.

    Attributes:
      offset_s: where in the first track the second begins; negative: before the first's start.
      overlap_s: how long both sound.
      error_rate: share of the bits that differ there, 0 to 1; chance is 0.5.
    """

    offset_s: float
    overlap_s: float
    error_rate: float

    def reversed(self) -> "Alignment":
        """The same with the tracks changed over."""
        return dataclasses.replace(self, offset_s=0.0 - self.offset_s)


def align(first: np.ndarray, second: np.ndarray) -> Alignment | None:
    """The best alignment of two fingerprints, if there they are one recording.

    Args:
      first: [frames] uint32.
      second: [frames] uint32.
    """
    best: Alignment | None = None
    for offset in _likely_offsets(first, second):
        begin = max(0, offset)
        end = min(len(first), len(second) + offset)
        ours, theirs = first[begin:end], second[begin - offset : end - offset]
        heard = (ours != NO_WORD) & (theirs != NO_WORD)
        if np.count_nonzero(heard) < MIN_OVERLAP_S * FRAMES_PER_S:
            continue
        error_rate = float(np.bitwise_count((ours ^ theirs)[heard]).mean()) / BITS
        if error_rate <= MAX_ERROR_RATE and (best is None or error_rate < best.error_rate):
            best = Alignment(offset / FRAMES_PER_S, len(ours) / FRAMES_PER_S, error_rate)
    return best


def _likely_offsets(first: np.ndarray, second: np.ndarray) -> list[int]:
    """Frames by which the second starts after the first, as the words say that both have; in ascending order."""
    order = np.argsort(second, kind="stable")
    ordered = second[order]
    begin, end = np.searchsorted(ordered, first, "left"), np.searchsorted(ordered, first, "right")
    end[first == NO_WORD] = 0
    votes = [np.zeros(0, np.int64)]
    for repeat in range(_MOST_REPEATS):
        place = begin + repeat
        known = np.flatnonzero(place < end)
        votes.append(known - order[place[known]])
    offsets, counts = np.unique(np.concatenate(votes), return_counts=True)
    chosen = offsets[np.argsort(-counts, kind="stable")[:_TRIED]].tolist()
    return sorted({offset + beside for offset in chosen for beside in (-1, 0, 1)})
