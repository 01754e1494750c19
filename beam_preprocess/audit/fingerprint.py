"""Acoustic fingerprints: 32-bit words that copies of a recording share, however loud or coded, and their comparison.

The method is that of Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): a bit says whether
the difference in energy between neighbouring bands grows or falls in time. What differs from the paper is chosen for
cost: energies over 163 ms at every 35 ms, not over 370 ms at every 12 ms, and compared over 7 frames, which makes up
for the shorter time. They are those of three frames of 93 ms: half the work of one transform over as long, and as
robust. On 120 copies of real tracks (MP3 and Ogg at several qualities, other gains, rates and starts) 7 % of the bits
of aligned words differ in the median, 15 % at most.

Copies are found by hashes of their words, which Beam groups in partitions; all pairs of tracks are never formed. Blocks
of bytes that hold many hashes or pairs as arrays pass between workers. With n tracks of w words, n w / 2 hashes of 8
bytes are grouped (3.4 KB for 30 s), and at most NEIGHBOURS n w / 2 pairs of 12 bytes, as a hash gives no more than
NEIGHBOURS pairs for each of its tracks: time and traffic grow with n, not with its square, even where all tracks share
a hash.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import scipy.fft
import scipy.signal
from numpy.lib.stride_tricks import sliding_window_view

RATE_HZ = 22050
# The highest band ends at 2 kHz, so every fourth sample is enough, after a short filter (Kaiser's): it attenuates what
# would alias into the bands, all from 3.5 kHz, by 45 dB, and what is in them by 0.05 dB at most.
_DECIMATION, _TAPS, _KAISER_BETA = 4, 43, 4.0
# In decimated samples.
_FRAME_LENGTH, _HOP_LENGTH = 512, 192
FRAMES_PER_S = RATE_HZ / (_DECIMATION * _HOP_LENGTH)
# The range that telephones, MP3 encoders and low sample rates leave alone.
_LOWEST_HZ, _HIGHEST_HZ = 200.0, 2000.0
BITS = 32
# Frames whose energies are added up, and from such a sum to the one that it is compared with.
_SUMMED, _LAG = 3, 7
# Decimated samples that one row of a matrix product gives, and the rows done at a time, which stay in the processor's
# cache. Whole blocks only: each row is then computed beside the same ones, wherever the audio is cut.
_ROW, _BLOCK_ROWS = 16, 1536
_ROW_SAMPLES = _ROW * _DECIMATION
_BLOCK_SAMPLES = _BLOCK_ROWS * _ROW_SAMPLES
# Energy over that of the loudest frame (-60 dB) below which a frame is silence: its bits would be noise.
_SILENCE = 1e-6
# The word of a silent frame.
NO_WORD = 0

# Share of differing bits up to which two tracks are one recording. Copies have 0.15 at most, other pairs that share
# words by chance 0.4 or more (Haitsma and Kalker take 0.35 for the worse copies that telephones make).
MAX_ERROR_RATE = 0.25
# Least time that two tracks must have in common, silence left out: the paper's 3 s.
MIN_OVERLAP_S = 3.0
# Offsets at which alignments are tried: those that most words agree on, each with the frames beside it.
_TRIED = 5
# A loop repeats its words; this many of each count.
_MAX_REPEATS = 8

ENTRY = np.dtype([("hash", "<u4"), ("track", "<u4")])
PAIR = np.dtype([("first", "<u4"), ("second", "<u4"), ("shared", "<u4")])
# Of the tracks that share a hash, in order of their numbers, each is paired with this many that follow it. Copies
# further apart are linked by those between; more pairs of what all tracks share would add nothing.
NEIGHBOURS = 8
# Hashes that two tracks must share to be compared: of 30,000 pairs of real tracks some 70 share one by chance and none
# more than two; copies of 25 s share 5 or more, half of them 64. Of copies of 10 to 15 s one in 60 shares fewer.
MIN_SHARED = 4
# Tracks for each partition: it then holds some 3.4 MB of entries of 30 s clips.
_PARTITION_TRACKS = 1000
_MIN_PARTITIONS = 8
# Entries or pairs that travel as one element: 1.5 MB at most.
_BLOCK = 1 << 17
# Knuth's multiplicative hash (The Art of Computer Programming 3, 6.4): words of music differ in few bits.
_HASH_FACTOR = np.uint32(2654435761)


class Fingerprinter:
    """Waveform at RATE_HZ -> words. Filters and bands are built once; instances are small and can be pickled."""

    def __init__(self) -> None:
        self._filters = _low_pass_filters()
        self._window = np.hanning(_FRAME_LENGTH + 1)[:-1].astype(np.float32)
        self._bins, self._bands = _band_matrix()

    def __call__(self, waveforms: Iterable[np.ndarray]) -> np.ndarray:
        """Return the words of a waveform that comes in blocks; the same to the bit however it is cut.

        Args:
          waveforms: blocks of [samples] float32, at RATE_HZ.

        Returns:
          [1 + samples // 768 - 9] uint32, FRAMES_PER_S; NO_WORD where it is silent.
        """
        words, energies = [np.zeros(0, np.uint32)], [np.zeros(0, np.float32)]
        bands = np.zeros((0, BITS + 1), np.float32)
        for new in self._band_energies(_decimate(waveforms, self._filters)):
            bands = np.concatenate([bands, new])
            sums = bands[:-2] + bands[1:-1] + bands[2:]
            slopes = np.diff(sums, axis=1)
            words.append(np.packbits(slopes[_LAG:] < slopes[:-_LAG], axis=1, bitorder="little").view("<u4")[:, 0])
            energies.append(sums[_LAG:].sum(axis=1))
            bands = bands[-(_LAG + _SUMMED - 1) :]
        result, energy = np.concatenate(words), np.concatenate(energies)
        result[energy <= _SILENCE * energy.max(initial=0)] = NO_WORD
        return result

    def _band_energies(self, waveforms: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield [frames, BITS + 1] float32; frame i is centred on decimated sample 192 i, with zeros before them."""
        rest = np.zeros(_FRAME_LENGTH // 2, np.float32)
        for waveform in waveforms:
            rest = np.concatenate([rest, waveform])
            if len(rest) >= _FRAME_LENGTH:
                frames = sliding_window_view(rest, _FRAME_LENGTH)[::_HOP_LENGTH]
                spectra = scipy.fft.rfft(frames * self._window, axis=1, overwrite_x=True)
                yield np.square(spectra.view(np.float32)[:, self._bins]) @ self._bands
                rest = rest[len(frames) * _HOP_LENGTH :]


def _decimate(waveforms: Iterable[np.ndarray], filters: tuple[np.ndarray, np.ndarray]) -> Iterator[np.ndarray]:
    """Yield every fourth sample, filtered, in blocks of [samples] float32; at the end half a frame of zeros."""
    rest = np.zeros(_TAPS // 2, np.float32)
    for waveform in waveforms:
        rest = np.concatenate([rest, waveform])
        blocks = max(0, len(rest) - _ROW_SAMPLES) // _BLOCK_SAMPLES
        for start in range(0, blocks * _BLOCK_SAMPLES, _BLOCK_SAMPLES):
            yield _filter(rest[start : start + _BLOCK_SAMPLES + _ROW_SAMPLES], filters)
        rest = rest[blocks * _BLOCK_SAMPLES :]
    count = (len(rest) - _TAPS // 2) // _DECIMATION
    rows = -(-count // _ROW) + 1
    padded = np.zeros(rows * _ROW_SAMPLES, np.float32)
    padded[: len(rest)] = rest[: len(padded)]
    yield np.concatenate([_filter(padded, filters)[:count], np.zeros(_FRAME_LENGTH // 2, np.float32)])


def _filter(padded: np.ndarray, filters: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return _ROW samples for each _ROW_SAMPLES but the last, end to end, from them and those that follow."""
    rows = padded.reshape(-1, _ROW_SAMPLES)
    this_row, next_row = filters
    filtered = rows[:-1] @ this_row
    filtered += rows[1:, : len(next_row)] @ next_row
    return filtered.ravel()


def _low_pass_filters() -> tuple[np.ndarray, np.ndarray]:
    """Return the filter as matrices [_ROW_SAMPLES, _ROW], and [what reaches into the next row, _ROW], float32."""
    taps = scipy.signal.firwin(_TAPS, 1 / _DECIMATION, window=("kaiser", _KAISER_BETA)).astype(np.float32)
    matrix = np.zeros(((_ROW - 1) * _DECIMATION + _TAPS, _ROW), np.float32)
    for sample in range(_ROW):
        matrix[sample * _DECIMATION : sample * _DECIMATION + _TAPS, sample] = taps
    return matrix[:_ROW_SAMPLES].copy(), matrix[_ROW_SAMPLES:].copy()


def _band_matrix() -> tuple[slice, np.ndarray]:
    """Return which numbers of a spectrum (real and imaginary parts in turn) are in any band, and each band's.

    Returns:
      Their range, and [numbers, BITS + 1] float32 of 0 and 1; bands are equally wide on O'Shaughnessy's mel scale,
      2595 log10(1 + f / 700).
    """
    low, high = 2595 * np.log10(1 + np.array([_LOWEST_HZ, _HIGHEST_HZ]) / 700)
    mels = np.linspace(low, high, BITS + 2)
    edges = np.rint(700 * (10 ** (mels / 2595) - 1) * _FRAME_LENGTH * _DECIMATION / RATE_HZ).astype(int)
    bins = np.arange(edges[0], edges[-1])[:, np.newaxis]
    in_band = ((edges[:-1] <= bins) & (bins < edges[1:])).astype(np.float32)
    return slice(2 * edges[0], 2 * edges[-1]), np.repeat(in_band, 2, axis=0)


@dataclasses.dataclass(frozen=True)
class Alignment:
    """How two tracks of one recording are aligned.

    Attributes:
      offset_s: where in the first track the second begins; negative: before the first's start.
      overlap_s: how long both sound.
      error_rate: share of the bits that differ there, 0 to 1; chance is 0.5.
    """

    offset_s: float
    overlap_s: float
    error_rate: float

    def reversed(self) -> "Alignment":
        """Return the alignment with the tracks swapped."""
        return dataclasses.replace(self, offset_s=0.0 - self.offset_s)


def align(first: np.ndarray, second: np.ndarray) -> Alignment | None:
    """Return the best alignment of two fingerprints; None where they are not of one recording.

    Args:
      first: [frames] uint32.
      second: [frames] uint32.
    """
    best: Alignment | None = None
    for offset in _likely_offsets(first, second):
        begin = max(0, offset)
        end = min(len(first), len(second) + offset)
        ours, theirs = first[begin:end], second[begin - offset : end - offset]
        audible = (ours != NO_WORD) & (theirs != NO_WORD)
        if np.count_nonzero(audible) < MIN_OVERLAP_S * FRAMES_PER_S:
            continue
        error_rate = float(np.bitwise_count((ours ^ theirs)[audible]).mean()) / BITS
        if error_rate <= MAX_ERROR_RATE and (best is None or error_rate < best.error_rate):
            best = Alignment(offset / FRAMES_PER_S, len(ours) / FRAMES_PER_S, error_rate)
    return best


def _likely_offsets(first: np.ndarray, second: np.ndarray) -> list[int]:
    """Return the frames by which the second may start after the first, by the words that both have; ascending."""
    order = np.argsort(second, kind="stable")
    ordered = second[order]
    begin, end = np.searchsorted(ordered, first, "left"), np.searchsorted(ordered, first, "right")
    end[first == NO_WORD] = 0
    votes = [np.zeros(0, np.int64)]
    for repeat in range(_MAX_REPEATS):
        place = begin + repeat
        matching = np.flatnonzero(place < end)
        votes.append(matching - order[place[matching]])
    offsets, counts = np.unique(np.concatenate(votes), return_counts=True)
    chosen = offsets[np.argsort(-counts, kind="stable")[:_TRIED]].tolist()
    return sorted({offset + beside for offset in chosen for beside in (-1, 0, 1)})


def num_partitions(tracks: int) -> int:
    """Return the number of partitions for the hashes of `tracks` tracks."""
    return max(_MIN_PARTITIONS, -(-tracks // _PARTITION_TRACKS))


def entries(track: int, words: np.ndarray) -> np.ndarray:
    """Return the hashes of a track, [n] ENTRY: of every second of its distinct words, the same ones in copies.

    Args:
      track: its number.
      words: [frames] uint32.
    """
    hashes = np.unique(words[words != NO_WORD]) * _HASH_FACTOR
    chosen = hashes[hashes < 1 << 31]
    result = np.empty(len(chosen), ENTRY)
    result["hash"], result["track"] = chosen, track
    return result


def deal_entries(hashes: np.ndarray, partitions: int) -> Iterator[tuple[int, bytes]]:
    """Yield (partition, block of ENTRY) of all entries, by hash."""
    # Hashes are below 2 ** 31: this spreads them evenly.
    yield from _deal(hashes, (hashes["hash"].astype(np.uint64) * np.uint64(partitions)) >> np.uint64(31))


def sharing_pairs(blocks: Iterable[bytes]) -> np.ndarray:
    """Return the pairs of tracks that share hashes of one partition, [n] PAIR, first < second, each pair once."""
    table = np.concatenate([np.frombuffer(block, ENTRY) for block in blocks])
    table = table[np.lexsort((table["track"], table["hash"]))]
    pairs = [np.zeros(0, np.uint64)]
    for distance in range(1, NEIGHBOURS + 1):
        same = table["hash"][distance:] == table["hash"][:-distance]
        pairs.append(_pair_keys(table["track"][:-distance][same], table["track"][distance:][same]))
    return _pairs(*np.unique(np.concatenate(pairs), return_counts=True))


def deal_pairs(pairs: np.ndarray, partitions: int) -> Iterator[tuple[int, bytes]]:
    """Yield (partition, block of PAIR) of all pairs, by their first track."""
    yield from _deal(pairs, pairs["first"] % np.uint32(partitions))


def candidates(blocks: Iterable[bytes]) -> list[tuple[int, int]]:
    """Return the pairs of tracks, in order, that share MIN_SHARED hashes or more over all partitions."""
    table = np.concatenate([np.frombuffer(block, PAIR) for block in blocks])
    keys, place = np.unique(_pair_keys(table["first"], table["second"]), return_inverse=True)
    pairs = _pairs(keys, np.bincount(place, table["shared"], len(keys)))
    chosen = pairs[pairs["shared"] >= MIN_SHARED]
    return list(zip(chosen["first"].tolist(), chosen["second"].tolist(), strict=True))


def _pair_keys(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return [n] uint64, the first track in the upper half."""
    return first.astype(np.uint64) << np.uint64(32) | second


def _pairs(keys: np.ndarray, shared: np.ndarray) -> np.ndarray:
    result = np.empty(len(keys), PAIR)
    result["first"], result["second"], result["shared"] = keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF), shared
    return result


def _deal(items: np.ndarray, partition: np.ndarray) -> Iterator[tuple[int, bytes]]:
    items = items[np.argsort(partition, kind="stable")]
    counts = np.bincount(partition.astype(np.int64)).tolist()
    start = 0
    for number, count in enumerate(counts):
        for begin in range(start, start + count, _BLOCK):
            yield number, items[begin : min(begin + _BLOCK, start + count)].tobytes()
        start += count
