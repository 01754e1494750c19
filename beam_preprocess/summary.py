"""What a finished job says of itself."""

import json
from collections import defaultdict
from typing import Any

from apache_beam.io.filesystems import FileSystems

from beam_preprocess import finish, storage
from beam_preprocess.config import JobConfig
from beam_preprocess.label_sound import LabelSound, warnings
from beam_preprocess.messages import SHOWN, say, some
from beam_preprocess.plan import Plan
from tfrecords.info import aligned
from tfrecords.manifest import Manifest


def tell_summary(config: JobConfig, plan: Plan, manifest: Manifest, elapsed_s: float) -> None:
    """Prints where the time went, what was rejected and what is there twice, and what was written.

    Args:
      config: the job.
      plan: which track is in which part.
      manifest: of the finished dataset.
      elapsed_s: seconds since the command began.
    """
    metrics = json.loads(storage.read_text(FileSystems.join(config.output, finish.METRICS_FILE)) or "{}")
    say(_table(metrics))
    if lost := [label for label, tracks in manifest.tracks(["all"]).items() if not tracks]:
        say(f"warning: not one track of {', '.join(lost)} can be used")
    sounds = {label: LabelSound.from_json(sound) for label, sound in metrics["sound"].items()}
    for warning in warnings(sounds, config.front_end.sample_rate):
        say(f"warning: {warning}")
    _tell_duplicates(plan, manifest)
    rejects = sum(manifest.rejects.values())
    audio_s = metrics["audio_s"]
    say(
        f"wrote {metrics['tracks']} tracks ({audio_s / 3600:.2f} hours) to {config.output} in {elapsed_s:.1f} s, "
        f"{audio_s / elapsed_s:,.0f} times real time; {rejects} rejected"
        + (f": see {FileSystems.join(config.output, finish.REJECTS_FILE)}" if rejects else "")
    )


def _table(metrics: dict[str, Any]) -> str:
    tracks = metrics["tracks"] + sum(metrics["rejects"].values())
    rows = [["", "workers' time", "a track"]]
    for activity, seconds in metrics["work_s"].items():
        rows.append([activity, f"{seconds:.1f} s", f"{1000 * seconds / max(1, tracks):.1f} ms"])
    rows.extend(["rejected", reason, str(count)] for reason, count in metrics["rejects"].items())
    return aligned(rows)


def _tell_duplicates(plan: Plan, manifest: Manifest) -> None:
    """Warns of recordings that are there more than once, most of all when a test could hear what was trained on."""
    if not manifest.duplicates:
        return
    twice = {track_id for same in manifest.duplicates for track_id in same}
    part_of = {track.track_id: shard.part for shard in plan.shards for track in shard.tracks if track.track_id in twice}
    across = sum(len({part_of[track_id] for track_id in same}) > 1 for same in manifest.duplicates)
    say(f"warning: {len(manifest.duplicates)} recordings are there more than once ({across} of them across parts):")
    for same in manifest.duplicates[:SHOWN]:
        places: dict[str, list[str]] = defaultdict(list)
        for track_id in same:
            places[part_of[track_id]].append(track_id)
        say("  " + "; ".join(f"{some(track_ids)} in {part}" for part, track_ids in list(places.items())[:SHOWN]))
    say("  manifest.json lists all, under duplicates")
