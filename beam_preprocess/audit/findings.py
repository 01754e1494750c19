"""What an audit finds: from what was measured of each track, and which ones match, to the content of audit.json."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from beam_preprocess import label_sound, splits
from beam_preprocess.audit import fingerprint
from beam_preprocess.audit.analysis import SILENT_DB, STRETCH_S, AnalyzedTrack
from beam_preprocess.audit.fingerprint import Alignment
from beam_preprocess.audit.pipeline import Match
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.label_sound import LabelSound
from beam_preprocess.plan import Plan, versions
from beam_preprocess.shards import Rejected

FORMAT_VERSION = 2
# Share of a track's samples in flat tops from which it is clipped (a hundredth of a percent: 66 in 30 s).
CLIPPED_SHARE = 1e-4
# Share of a track's time in silence from which it is listed.
SILENT_SHARE = 0.25
# A length is unusual when it is further from the median than this many times the median deviation (for a normal
# distribution 4 standard deviations), and than this share of the median.
OUTLIER_DEVIATIONS = 6.0
OUTLIER_SHARE = 0.1
# Each rule, for readers of audit.json.
RULES = {
    "duplicates": f"identical samples; or {fingerprint.MIN_SHARED} shared words and, aligned, at most "
    f"{fingerprint.MAX_ERROR_RATE:g} of the fingerprints' bits differ over {fingerprint.MIN_OVERLAP_S:g} s or more",
    "clipped": f"{CLIPPED_SHARE:g} or more of the samples in flat tops at full scale",
    "silent": f"{SILENT_SHARE:g} or more of all stretches of {STRETCH_S:g} s below {SILENT_DB:g} dB of full scale",
    "mono_in_stereo": "several channels, all the same to within 60 dB",
    "cancelled": "channels whose mean is 40 dB below them",
    "far_beyond_full_scale": "samples above 8 times full scale",
    "length_outliers": f"further from the median than {OUTLIER_DEVIATIONS:g} median deviations and "
    f"{OUTLIER_SHARE:.0%} of it",
}
# Finding about single tracks -> the figure that is listed with each, and the field of the measures that holds it.
_FIGURES = {
    "clipped": ("share", "clipped_share"),
    "silent": ("share", "silent_share"),
    "mono_in_stereo": ("channels", "channels"),
    "cancelled": ("channels", "channels"),
    "far_beyond_full_scale": ("duration_s", "duration_s"),
    "length_outliers": ("duration_s", "duration_s"),
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two tracks that are one recording.

    Attributes:
      first: number of a track.
      second: number of a later one.
      identical: whether their samples are equal.
      alignment: of the two; that of identical tracks overlaps for their whole length.
    """

    first: int
    second: int
    identical: bool
    alignment: Alignment


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording of which there are several tracks.

    Attributes:
      tracks: their numbers, ascending.
      pairs: that link them, sorted; identical tracks are linked to the first of them.
    """

    tracks: tuple[int, ...]
    pairs: tuple[Pair, ...]


def recordings(analyses: Sequence[AnalyzedTrack | Rejected], matches: Iterable[Match]) -> list[Recording]:
    """Return the recordings of which there are several tracks, in order of their first tracks.

    Args:
      analyses: of each track, by number.
      matches: pairs that are one recording by their fingerprints; identical tracks may be among them.
    """
    content = {number: item.content for number, item in enumerate(analyses) if isinstance(item, AnalyzedTrack)}
    pairs = _identical_pairs(analyses)
    for first, second, alignment in matches:
        if content[first] != content[second]:
            pairs.append(Pair(first, second, identical=False, alignment=alignment))
    pairs.sort(key=lambda pair: (pair.first, pair.second))
    parent: dict[int, int] = {}
    for pair in pairs:
        lower, higher = sorted((_root(parent, pair.first), _root(parent, pair.second)))
        parent[higher] = lower
    linked: dict[int, list[Pair]] = defaultdict(list)
    for pair in pairs:
        linked[_root(parent, pair.first)].append(pair)
    return [
        Recording(tuple(sorted({number for pair in group for number in (pair.first, pair.second)})), tuple(group))
        for _, group in sorted(linked.items())
    ]


def _identical_pairs(analyses: Sequence[AnalyzedTrack | Rejected]) -> list[Pair]:
    first_with: dict[str, int] = {}
    pairs = []
    for number, item in enumerate(analyses):
        if isinstance(item, AnalyzedTrack) and (first := first_with.setdefault(item.content, number)) != number:
            whole = Alignment(offset_s=0.0, overlap_s=item.duration_s, error_rate=0.0)
            pairs.append(Pair(first, number, identical=True, alignment=whole))
    return pairs


def _root(parent: dict[int, int], number: int) -> int:
    """Return the lowest number that a track is linked to so far (union-find with path halving)."""
    while (above := parent.setdefault(number, number)) != number:
        parent[number] = number = parent.setdefault(above, above)
    return number


def pairs_to_draw(found: Sequence[Recording], parts: Sequence[str], count: int) -> list[Pair]:
    """Return up to `count` pairs to look at: none identical, those across parts first, then by their tracks."""
    pairs = [pair for recording in found for pair in recording.pairs if not pair.identical]
    return sorted(pairs, key=lambda pair: parts[pair.first] == parts[pair.second])[:count]


def make_audit(
    plan: Plan,
    tracks: Sequence[tuple[Track, str]],
    analyses: Sequence[AnalyzedTrack | Rejected],
    found: Sequence[Recording],
    *,
    sample_rate: int,
) -> dict[str, Any]:
    """Return the content of audit.json: nothing in it varies from run to run.

    Args:
      plan: of the job.
      tracks: each track and its part, by number.
      analyses: of each track, by number.
      found: recordings of which there are several tracks.
      sample_rate: Hz, of the front end, for warnings of labels that differ in quality.
    """
    usable = [
        (track, item) for (track, _), item in zip(tracks, analyses, strict=True) if isinstance(item, AnalyzedTrack)
    ]
    duplicates = [_duplicate(recording, tracks) for recording in found]
    leaking = _leaking_groups(tracks)
    return {
        "format_version": FORMAT_VERSION,
        "tracks": len(tracks),
        "labels": dict(sorted(Counter(track.label for track, _ in tracks).items())),
        "parts": {part: sum(counts.values()) for part, counts in plan.label_counts().items()},
        "split": dict(plan.split),
        "leaks": {"duplicates": sum(len(item["parts"]) > 1 for item in duplicates), "groups": len(leaking)},
        "duplicates": duplicates,
        "torn_groups": leaking,
        "rejects": _rejects(tracks, analyses),
        **_single_tracks(usable),
        "warnings": label_sound.warnings(_label_sounds(usable), sample_rate),
        "durations": _durations([item for _, item in usable]),
        "rules": RULES,
        "versions": versions(),
    }


def _duplicate(recording: Recording, tracks: Sequence[tuple[Track, str]]) -> dict[str, Any]:
    members = [tracks[number] for number in recording.tracks]
    return {
        "parts": sorted({part for _, part in members}),
        "labels": sorted({track.label for track, _ in members}),
        "tracks": [
            {"track_id": track.track_id, "part": part, "label": track.label, "group": track.group}
            for track, part in members
        ],
        "pairs": [
            {
                "first": tracks[pair.first][0].track_id,
                "second": tracks[pair.second][0].track_id,
                "identical": pair.identical,
                **dataclasses.asdict(pair.alignment),
            }
            for pair in recording.pairs
        ],
    }


def _leaking_groups(tracks: Sequence[tuple[Track, str]]) -> list[dict[str, Any]]:
    """Return the groups (artists) that are in more than one part, and how many of their tracks are in each."""
    names = splits.leaking_groups([track for track, _ in tracks], [part for _, part in tracks])
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for track, part in tracks:
        if track.group in counts:
            counts[track.group][part] += 1
    return [{"group": name, "parts": dict(sorted(counts[name].items()))} for name in names]


def _rejects(tracks: Sequence[tuple[Track, str]], analyses: Sequence[AnalyzedTrack | Rejected]) -> list[dict[str, str]]:
    rejects = [
        {"track_id": item.track_id, "label": track.label, "reason": item.reason, "detail": item.detail}
        for (track, _), item in zip(tracks, analyses, strict=True)
        if isinstance(item, Rejected)
    ]
    return sorted(rejects, key=lambda reject: reject["track_id"])


def _single_tracks(usable: Sequence[tuple[Track, AnalyzedTrack]]) -> dict[str, list[dict[str, Any]]]:
    """Return finding -> the tracks that it is about, each with its figure, the largest first."""
    shortest_s, longest_s = _usual_lengths_s([item for _, item in usable])
    figures: dict[str, list[tuple[str, float]]] = {finding: [] for finding in _FIGURES}
    for track, item in usable:
        applies = {
            "clipped": item.clipped_share >= CLIPPED_SHARE,
            "silent": item.silent_share >= SILENT_SHARE,
            "mono_in_stereo": item.same_channels,
            "cancelled": item.cancels,
            "far_beyond_full_scale": item.far_beyond_full_scale,
            "length_outliers": not shortest_s <= item.duration_s <= longest_s,
        }
        for finding, (_, field) in _FIGURES.items():
            if applies[finding]:
                figures[finding].append((track.track_id, getattr(item, field)))
    return {
        finding: [
            {"track_id": track_id, name: value}
            for track_id, value in sorted(figures[finding], key=lambda row: (-row[1], row[0]))
        ]
        for finding, (name, _) in _FIGURES.items()
    }


def _label_sounds(usable: Sequence[tuple[Track, AnalyzedTrack]]) -> dict[str, LabelSound]:
    sounds: dict[str, LabelSound] = {}
    for track, item in usable:
        sounds.setdefault(track.label, LabelSound()).add(item)
    return dict(sorted(sounds.items()))


def _usual_lengths_s(analyzed: Sequence[AnalyzedTrack]) -> tuple[float, float]:
    """Return the shortest and the longest length, in seconds, that is not unusual."""
    if not analyzed:
        return 0.0, 0.0
    durations = np.array([item.duration_s for item in analyzed])
    median = float(np.median(durations))
    deviation = float(np.median(np.abs(durations - median)))
    margin = max(OUTLIER_DEVIATIONS * deviation, OUTLIER_SHARE * median)
    return median - margin, median + margin


def _durations(analyzed: Sequence[AnalyzedTrack]) -> dict[str, float]:
    """Return the shortest, median, longest and total length in seconds."""
    durations = sorted(item.duration_s for item in analyzed) or [0.0]
    return {
        "shortest_s": durations[0],
        "median_s": round(float(np.median(durations)), 3),
        "longest_s": durations[-1],
        "total_s": round(sum(durations), 3),
    }
