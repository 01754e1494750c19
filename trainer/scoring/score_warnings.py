"""What a reader of a score must know about the data behind it."""

from collections.abc import Mapping
from typing import Any

from tfrecords.manifest import Manifest

KEPT_APART, TORN, NOT_GIVEN = "kept_apart", "torn", "not_given"
WITHOUT_PATCH = "tracks shorter than a patch, not in the score"
_SHOWN_GROUPS = 10


def groups_of(manifest: Manifest) -> str:
    """What the split did about tracks that belong together: KEPT_APART, TORN or NOT_GIVEN."""
    if not manifest.split.get("group_safe", False):
        return TORN
    return KEPT_APART if manifest.split.get("grouped", False) else NOT_GIVEN


def data_warnings(groups: str, tracks_without_patch: int) -> dict[str, str]:
    """What makes a score too good, or leaves tracks out of it, by the name of the fact in a report.

    Args:
      groups: of `groups_of`.
      tracks_without_patch: tracks of the scored parts that are shorter than a patch.
    """
    warnings = {}
    if groups == NOT_GIVEN:
        warnings["Artists"] = (
            "no artists were given, so one may be in both training and test: the score may be too good"
        )
    if groups == TORN:
        warnings["Artists"] = "some artists are in both training and test: the score is too good"
    if tracks_without_patch:
        warnings["Tracks without a patch"] = f"{WITHOUT_PATCH}: {tracks_without_patch}"
    return warnings


def evaluation_warnings(summary: Mapping[str, Any]) -> dict[str, str]:
    """What a reader of one evaluation must know, by the name of the fact in the report.

    Args:
      summary: of `trainer.evaluate.evaluate`.
    """
    warnings = {}
    if summary["seen_in_training"]:
        warnings["Seen in training"] = "these parts were trained or validated on: no score for new music"
    if summary["seen_in_training"] is None:
        warnings["Seen in training"] = "another dataset than the one trained on: it may hold training tracks"
    warnings |= data_warnings(summary["groups"], summary["tracks_without_patch"])
    if summary["new_groups"] is not None:
        # Somebody looked: the split tore groups, of which these are in the test.
        warnings.pop("Artists", None)
        for entry in summary["new_groups"]:
            warnings[f"Artists in {entry['new_to']}"] = _shared(entry, summary["tracks"])
    return warnings


def _shared(entry: Mapping[str, Any], tracks: int) -> str:
    groups = entry["shared_groups"]
    more = len(groups) - _SHOWN_GROUPS
    names = ", ".join(groups[:_SHOWN_GROUPS]) + (f" and {more} more" if more > 0 else "")
    return (
        f"{entry['tracks_left_out']} of {tracks} test tracks share their artist with {entry['new_to']} ({names}); "
        "there is a score without them"
    )
