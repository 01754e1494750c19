"""What an audit finds: from what was heard of each track, and which are one recording, to the content of audit.json."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from beam_preprocess import label_sound, splits
from beam_preprocess.audio.measure import TrackSound
from beam_preprocess.audit import fingerprint
from beam_preprocess.audit.analysis import SILENT_DB, STRETCH_S, Sound
from beam_preprocess.audit.pipeline import Recording
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.label_sound import LabelSound
from beam_preprocess.plan import Plan, versions
from beam_preprocess.write_shard import Rejected

FORMAT_VERSION = 2
# Share of a track's samples in flat tops from which it is called clipped (a hundredth of a percent: 66 in 30 s).
CLIPPED_SHARE = 1e-4
# Share of a track's time that is silent from which it is named.
SILENT_SHARE = 0.25
# A length is out of the ordinary when it is further from the median than so many times the median deviation (for a
# normal distribution 4 standard deviations), and than this share of the median.
OUTLIER_DEVIATIONS = 6.0
OUTLIER_SHARE = 0.1
# What each rule is, for whoever reads the file.
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

# Finding of single tracks -> the figure that it rests on.
_SINGLE_UNITS = {
    "clipped": "share",
    "silent": "share",
    "mono_in_stereo": "channels",
    "cancelled": "channels",
    "far_beyond_full_scale": "duration_s",
    "length_outliers": "duration_s",
}


def make_audit(
    plan: Plan,
    tracks: Sequence[tuple[Track, str]],
    heard: Sequence[Sound | Rejected],
    recordings: Sequence[Recording],
    *,
    sample_rate: int,
) -> dict[str, Any]:
    """The content of audit.json: nothing in it varies from run to run.

    Args:
      plan: of the job.
      tracks: each track and its part, by number.
      heard: of each track, by number.
      recordings: that are there more than once.
      sample_rate: Hz, of the front end, for what it hears of labels that differ in quality.
    """
    sounds = {number: item for number, item in enumerate(heard) if isinstance(item, Sound)}
    duplicates = [_duplicate(recording, tracks) for recording in recordings]
    torn = _torn_groups(tracks)
    return {
        "format_version": FORMAT_VERSION,
        "tracks": len(tracks),
        "labels": dict(sorted(Counter(track.label for track, _ in tracks).items())),
        "parts": {part: sum(counts.values()) for part, counts in plan.label_counts().items()},
        "split": dict(plan.split),
        "leaks": {"duplicates": sum(len(item["parts"]) > 1 for item in duplicates), "groups": len(torn)},
        "duplicates": duplicates,
        "torn_groups": torn,
        "rejects": _rejects(tracks, heard),
        **_single_tracks(tracks, sounds),
        "warnings": label_sound.warnings(_label_sounds(tracks, sounds), sample_rate),
        "durations": _durations(sounds),
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
                "offset_s": pair.alignment.offset_s,
                "overlap_s": pair.alignment.overlap_s,
                "error_rate": pair.alignment.error_rate,
            }
            for pair in recording.pairs
        ],
    }


def _torn_groups(tracks: Sequence[tuple[Track, str]]) -> list[dict[str, Any]]:
    """Groups (artists) in more than one part, and how many of their tracks are in each."""
    names = splits.torn_groups([track for track, _ in tracks], [part for _, part in tracks])
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for track, part in tracks:
        if track.group in counts:
            counts[track.group][part] += 1
    return [{"group": name, "parts": dict(sorted(counts[name].items()))} for name in names]


def _rejects(tracks: Sequence[tuple[Track, str]], heard: Sequence[Sound | Rejected]) -> list[dict[str, str]]:
    rejects = [
        {"track_id": item.track_id, "label": track.label, "reason": item.reason, "detail": item.detail}
        for (track, _), item in zip(tracks, heard, strict=True)
        if isinstance(item, Rejected)
    ]
    return sorted(rejects, key=lambda reject: reject["track_id"])


def _single_tracks(tracks: Sequence[tuple[Track, str]], sounds: Mapping[int, Sound]) -> dict[str, list[dict[str, Any]]]:
    """What is wrong with tracks by themselves: finding -> tracks with the figure that it rests on, the worst first."""
    low, high = _ordinary_s(sounds)
    found: dict[str, list[tuple[str, float]]] = {name: [] for name in _SINGLE_UNITS}
    for number, sound in sounds.items():
        track_id = tracks[number][0].track_id
        if sound.clipped >= CLIPPED_SHARE:
            found["clipped"].append((track_id, sound.clipped))
        if sound.silent >= SILENT_SHARE:
            found["silent"].append((track_id, sound.silent))
        if sound.same_channels:
            found["mono_in_stereo"].append((track_id, sound.channels))
        if sound.cancels:
            found["cancelled"].append((track_id, sound.channels))
        if sound.far_beyond_full_scale:
            found["far_beyond_full_scale"].append((track_id, sound.duration_s))
        if not low <= sound.duration_s <= high:
            found["length_outliers"].append((track_id, sound.duration_s))
    return {
        name: [
            {"track_id": track_id, _SINGLE_UNITS[name]: value}
            for track_id, value in sorted(items, key=lambda item: (-item[1], item[0]))
        ]
        for name, items in found.items()
    }


def _label_sounds(tracks: Sequence[tuple[Track, str]], sounds: Mapping[int, Sound]) -> dict[str, LabelSound]:
    found: dict[str, LabelSound] = {}
    for number, sound in sounds.items():
        measured = TrackSound(sound.sample_rate, sound.bandwidth_hz, sound.cancels, sound.far_beyond_full_scale)
        found.setdefault(tracks[number][0].label, LabelSound()).add(measured)
    return dict(sorted(found.items()))


def _ordinary_s(sounds: Mapping[int, Sound]) -> tuple[float, float]:
    """From what length to what a track is nothing out of the ordinary."""
    if not sounds:
        return 0.0, 0.0
    durations = np.array([sound.duration_s for sound in sounds.values()])
    median = float(np.median(durations))
    deviation = float(np.median(np.abs(durations - median)))
    margin = max(OUTLIER_DEVIATIONS * deviation, OUTLIER_SHARE * median)
    return median - margin, median + margin


def _durations(sounds: Mapping[int, Sound]) -> dict[str, float]:
    """Shortest, median, longest and total length in seconds."""
    durations = sorted(sound.duration_s for sound in sounds.values()) or [0.0]
    return {
        "shortest_s": durations[0],
        "median_s": round(float(np.median(durations)), 3),
        "longest_s": durations[-1],
        "total_s": round(sum(durations), 3),
    }
