"""What the launcher decides before the pipeline starts: which track goes into which part and shard."""

from collections.abc import Sequence
from typing import Any

from beam_preprocess import labels, part_folders, splits
from beam_preprocess.config import JobConfig, SplitConfig
from beam_preprocess.grouping import Grouping, group_tracks
from beam_preprocess.messages import say, some
from beam_preprocess.plan import Plan, make_plan
from beam_preprocess.tracks import Track
from tfrecords.command_line import UserError
from tfrecords.info import aligned


def plan_job(config: JobConfig, tracks: Sequence[Track]) -> Plan:
    """Deals tracks into parts and shards, and tells what a person should know of the outcome.

    Raises:
      UserError: one label only, fewer groups than parts, lists that do not fit the tracks.
    """
    tracks, merged = _label(config, tracks)
    grouping = group_tracks(config, tracks)
    tracks = grouping.tracks
    parts, split = _deal(config.split, grouping)
    trained = {track.label for track, part in zip(tracks, parts, strict=True) if part is not None}
    if len(trained) < 2:
        raise UserError(
            f"{config.source}: only one label, {min(trained)!r}: nothing to tell apart; "
            "put each genre's files in a folder of its own"
        )
    if left_out := parts.count(None):
        say(f"{left_out} tracks are in none of the lists and are left out")
    groups = {track.group for track, part in zip(tracks, parts, strict=True) if part is not None}
    torn = splits.torn_groups(tracks, parts)
    if torn:
        say(f"warning: {len(torn)} groups are in more than one part ({some(torn)}): scores will look too good")
    grouped = any(track.group != track.track_id for track in tracks)
    split |= {"groups": len(groups), "grouped": grouped, "group_safe": not torn}
    if grouping.table:
        split["group_table"] = grouping.table
    if grouping.cut_recordings:
        split["cut_recordings"] = grouping.cut_recordings
    if merged:
        split["merged_labels"] = merged
    plan = make_plan(config, tracks, parts, split)
    say(f"{config.source}: {plan.num_tracks} tracks, {len(plan.labels)} labels, {len(plan.shards)} shards")
    _tell_parts(plan)
    return plan


def _label(config: JobConfig, tracks: Sequence[Track]) -> tuple[Sequence[Track], dict[str, list[str]]]:
    """The tracks with the labels that the job trains, and the spellings of those that were made one."""
    if config.split.split_folders:
        tracks = part_folders.label_below_parts(tracks, config.label_folder)
    tracks, merged = labels.merge_labels(tracks) if config.merge_labels else (tracks, {})
    if merged:
        say(f"labels made one: {some([' and '.join(map(repr, same)) for same in merged.values()], '; ')}")
    labels.warn_of_labels(config, tracks)
    return tracks, merged


def _deal(split: SplitConfig, grouping: Grouping) -> tuple[list[str | None], dict[str, Any]]:
    """A part for each track (None: left out), and how it came about."""
    tracks = grouping.tracks
    if split.split_folders:
        return list(part_folders.assign_by_folders(tracks)), {"method": "folders"}
    if split.split_lists:
        return splits.assign_by_lists(tracks, splits.read_lists(split.split_lists)), {"method": "lists"}
    if split.train_size is not None:
        weights = splits.size_weights(split.train_size, split.valid_size)
        how: dict[str, Any] = {"method": "sizes", "weights": weights, "seed": split.seed}
    else:
        folds = grouping.folds if split.folds is None else split.folds
        weights = splits.fold_weights(folds)
        how = {"method": "folds", "folds": folds, "seed": split.seed}
    advice = {"advice": "or take the pieces of one recording for tracks of their own: --groups=none"}
    chosen = advice if grouping.cut_recordings else {}
    return list(splits.assign(tracks, weights, seed=split.seed, **chosen)), how


def _tell_parts(plan: Plan) -> None:
    counts = plan.label_counts()
    rows = [[part, *(str(counts[part][label]) for label in plan.labels)] for part in plan.parts]
    say(aligned([["part", *plan.labels], *rows]))
    lacking = {part: [label for label in plan.labels if not counts[part][label]] for part in plan.parts}
    missing = [f"{part} lacks {', '.join(labels)}" for part, labels in lacking.items() if labels]
    if missing:
        say(f"warning: too few groups to have each label in each part: {some(missing, '; ')}")
