"""What a reader of a score must know about the data behind it."""

from tfrecords.manifest import Manifest

KEPT_APART, TORN, NOT_GIVEN = "kept_apart", "torn", "not_given"


def groups_of(manifest: Manifest) -> str:
    """What the split did about tracks that belong together: KEPT_APART, TORN or NOT_GIVEN."""
    if not manifest.split["group_safe"]:
        return TORN
    return KEPT_APART if manifest.split["grouped"] else NOT_GIVEN


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
        warnings["Tracks without a patch"] = f"tracks shorter than a patch, not in the score: {tracks_without_patch}"
    return warnings
