"""The log of a finished job: where the time went, rejects, warnings, duplicates, and what was written."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from beam_preprocess import finish, storage
from beam_preprocess.audio.formats import NO_ENDING, ending_of
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.label_sound import LabelSound, warnings
from beam_preprocess.plan import Plan
from tfrecords.common import json_data
from tfrecords.common.terminal import SHOWN, align_columns, first_few, log
from tfrecords.manifest import Manifest

# Labels on one line; few sets of music have more.
_LABELS_SHOWN = 20


def log_summary(config: JobConfig, plan: Plan, manifest: Manifest, elapsed_s: float) -> None:
    """Log the outcome of a job.

    Args:
      config: the job.
      plan: its plan.
      manifest: of the finished dataset.
      elapsed_s: seconds since the command began.

    Raises:
      OSError: metrics.json cannot be read.
    """
    with storage.open_file(storage.join(config.output, finish.METRICS_FILE)) as file:
        metrics = json.load(file)
    log(time_table(metrics))
    if empty := [label for label, tracks in manifest.tracks(["all"]).items() if not tracks]:
        log(f"warning: not one track of {', '.join(empty)} can be used")
    log_rejects(config, plan)
    sounds = {label: json_data.build(LabelSound, sound) for label, sound in metrics["sound"].items()}
    for warning in warnings(sounds, config.front_end.sample_rate):
        log(f"warning: {warning}")
    _log_duplicates(plan, manifest)
    rejects = sum(manifest.rejects.values())
    audio_s = metrics["audio_s"]
    log(
        f"wrote {metrics['tracks']} tracks ({audio_s / 3600:.2f} hours) to {config.output} in {elapsed_s:.1f} s, "
        f"{audio_s / elapsed_s:,.0f} times real time; {rejects} rejected"
        + (f": see {storage.join(config.output, finish.REJECTS_FILE)}" if rejects else "")
    )


def time_table(metrics: dict[str, Any]) -> str:
    """Return where the workers' time went, and the rejects by reason, as a table, from metrics.json."""
    tracks = metrics["tracks"] + sum(metrics["rejects"].values())
    rows = [["", "workers' time", "a track"]]
    for activity, seconds in metrics["work_s"].items():
        rows.append([activity, f"{seconds:.1f} s", f"{1000 * seconds / max(1, tracks):.1f} ms"])
    rows.extend(["rejected", reason, str(count)] for reason, count in metrics["rejects"].items())
    return align_columns(rows)


def log_rejects(config: JobConfig, plan: Plan) -> None:
    """Log the rejected tracks by label, and the formats of those that cannot be read."""
    text = storage.read_text(storage.join(config.output, finish.REJECTS_FILE)) or ""
    reason_of = {reject["track_id"]: reject["reason"] for reject in map(json.loads, text.splitlines())}
    rejected = [track for shard in plan.shards for track in shard.tracks if track.track_id in reason_of]
    if not rejected or not config.needs_labels:
        return
    totals = sum(plan.label_counts().values(), Counter())
    log(f"rejected by label: {by_label([track.label for track in rejected], totals)}")
    unsupported = [track for track in rejected if reason_of[track.track_id] == "unsupported_format"]
    if unsupported:
        log(f"warning: formats that cannot be read (unsupported_format): {_formats(unsupported)}")


def by_label(rejected: Iterable[str], totals: Mapping[str, int]) -> str:
    """Return how many tracks of each label are rejected, the label that loses the largest share first.

    Args:
      rejected: the label of each rejected track.
      totals: label -> number of its tracks, rejected ones included.

    >>> by_label(["rock", "jazz", "rock"], {"jazz": 10, "rock": 10})
    'rock 2 of 10, jazz 1 of 10'
    """
    counts = Counter(rejected)
    ranked = sorted(counts, key=lambda label: (-counts[label] / totals[label], label))
    return first_few([f"{label} {counts[label]} of {totals[label]}" for label in ranked], shown=_LABELS_SHOWN)


def _formats(tracks: Iterable[Track]) -> str:
    endings: dict[str, Counter[str]] = defaultdict(Counter)
    for track in tracks:
        endings[track.label][ending_of(track.track_id) or NO_ENDING] += 1
    labels = sorted(endings, key=lambda label: (-endings[label].total(), label))
    lines = [
        f"{label}: {', '.join(f'{count} {ending}' for ending, count in endings[label].most_common())}"
        for label in labels
    ]
    return first_few(lines, "; ", shown=_LABELS_SHOWN)


def _log_duplicates(plan: Plan, manifest: Manifest) -> None:
    """Warn of recordings that occur more than once, which matters most if they are in several parts."""
    if not manifest.duplicates:
        return
    track_ids = {track_id for same in manifest.duplicates for track_id in same}
    part_of = {
        track.track_id: shard.part for shard in plan.shards for track in shard.tracks if track.track_id in track_ids
    }
    across = sum(len({part_of[track_id] for track_id in same}) > 1 for same in manifest.duplicates)
    log(f"warning: {len(manifest.duplicates)} recordings are there more than once ({across} of them across parts):")
    for same in manifest.duplicates[:SHOWN]:
        by_part: dict[str, list[str]] = defaultdict(list)
        for track_id in same:
            by_part[part_of[track_id]].append(track_id)
        log("  " + "; ".join(f"{first_few(names)} in {part}" for part, names in list(by_part.items())[:SHOWN]))
    log("  manifest.json lists all, under duplicates")
