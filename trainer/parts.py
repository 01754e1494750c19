"""Which parts train, which choose the model, and which are kept for the reported score."""

import dataclasses
import re
from collections.abc import Sequence

from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest


@dataclasses.dataclass(frozen=True)
class PartChoice:
    """Three unions of parts that share none.

    Attributes:
      train: for the weights and the normalisation.
      valid: for stopping and choosing among epochs; none where there is no such choice.
      test: for the reported score only.
    """

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]


def choose_parts(
    manifest: Manifest, *, test_fold: int | None = None, valid_fold: int | None = None, validates: bool = True
) -> PartChoice:
    """Parts by name (train, valid, test), or of folds: the last tests and the one before it validates unless told.

    Args:
      manifest: of the dataset.
      test_fold: number of the fold that tests.
      valid_fold: number of the one that validates.
      validates: whether there is to be validation without a valid_fold; else what would validate trains.

    Raises:
      UserError: parts of other names, fewer than three folds, a fold that is not there, the same fold twice.
    """
    names = tuple(manifest.parts)
    if _are_folds(names):
        return _choose_folds(names, test_fold, valid_fold, validates or valid_fold is not None)
    # Parts of other names have no order that tells their roles: a guess could train on what was meant for the test.
    without_valid = set(names) == {"train", "test"}
    if not {"train", "valid", "test"} <= set(names) and (validates or not without_valid):
        without = ", or take --recipe=augmented, which needs no valid" if without_valid else ""
        raise UserError(
            f"training needs folds, or the parts train, valid and test; the dataset has {', '.join(names)}; "
            f"name the lists train.txt, valid.txt, test.txt{without}"
        )
    if test_fold is not None or valid_fold is not None:
        raise UserError("--test_fold and --valid_fold need a dataset of folds; this one has train, valid, test")
    if without_valid:
        return PartChoice(("train",), (), ("test",))
    return PartChoice(("train",), ("valid",), ("test",)) if validates else PartChoice(("train", "valid"), (), ("test",))


def count_folds(manifest: Manifest) -> int:
    """How many folds a dataset consists of.

    Raises:
      UserError: it has parts of other names.
    """
    if not _are_folds(tuple(manifest.parts)):
        raise UserError(
            f"cross-validation needs a dataset of folds; this one has {', '.join(manifest.parts)}; write it with "
            "python -m beam_preprocess --folds=10"
        )
    return len(manifest.parts)


def _are_folds(names: tuple[str, ...]) -> bool:
    return all(re.fullmatch("fold_[0-9]+", name) for name in names)


def _choose_folds(names: tuple[str, ...], test_fold: int | None, valid_fold: int | None, validates: bool) -> PartChoice:
    if len(names) < 2 + validates:
        least = "three folds or more" if validates else "two folds or more"
        raise UserError(f"training needs {least}; the dataset has {', '.join(names)}")
    test = len(names) - 1 if test_fold is None else test_fold
    valid = (test - 1) % len(names) if valid_fold is None else valid_fold
    for flag, fold in (("test_fold", test), ("valid_fold", valid)):
        if not 0 <= fold < len(names):
            raise UserError(f"--{flag} must be from 0 to {len(names) - 1}, got {fold}")
    if test == valid:
        raise UserError(f"--test_fold and --valid_fold must differ, both are {test}")
    held = (test, valid) if validates else (test,)
    train = tuple(name for index, name in enumerate(names) if index not in held)
    return PartChoice(train, (names[valid],) if validates else (), (names[test],))


def check_patches(manifest: Manifest, parts: Sequence[str], role: str, *, patch_frames: int) -> None:
    """Raises UserError when parts hold no patch to do their role with."""
    if not manifest.num_patches(parts, patch_frames=patch_frames, patch_hop=patch_frames):
        raise UserError(
            f"{', '.join(parts)} should be for {role} but hold no record of {patch_frames} frames; "
            "lower --patch_frames, or take fewer --folds, or more tracks"
        )
