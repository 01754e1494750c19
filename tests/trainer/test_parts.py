import pytest

from tfrecords.common.command_line import UserError
from trainer.training_job import PartChoice, check_patches, choose_parts, count_folds


@pytest.fixture(scope="module")
def folds(tmp_path_factory, write_dataset):
    """Twelve folds, so that order by name is not order by number."""
    names = [f"fold_{number}" for number in range(12)]
    path = tmp_path_factory.mktemp("folds")
    return write_dataset(path, parts=names, frames=(5, 9), mel_bands=2, tracks_per_label=1).manifest


@pytest.fixture(scope="module")
def two(tmp_path_factory, write_dataset):
    return write_dataset(tmp_path_factory.mktemp("two"), parts=("train", "test"), frames=(5, 9), mel_bands=2).manifest


def without(*numbers):
    return tuple(f"fold_{number}" for number in range(12) if number not in numbers)


@pytest.mark.parametrize(
    ("flags", "valid", "test"),
    [
        ({}, 10, 11),
        ({"test_fold": 2}, 1, 2),
        ({"test_fold": 0}, 11, 0),
        ({"valid_fold": 0}, 0, 11),
        ({"test_fold": 0, "valid_fold": 5}, 5, 0),
        ({"test_fold": 11, "valid_fold": 10}, 10, 11),
    ],
)
def test_folds(folds, flags, valid, test):
    chosen = choose_parts(folds, **flags)
    assert chosen == PartChoice(without(valid, test), (f"fold_{valid}",), (f"fold_{test}",))
    assert len(chosen.train) == 10


@pytest.mark.parametrize(
    ("flags", "valid", "test"),
    [
        ({}, (), 11),
        ({"test_fold": 0}, (), 0),
        ({"valid_fold": 3}, (3,), 11),
        ({"test_fold": 3, "valid_fold": 2}, (2,), 3),
    ],
)
def test_what_would_validate_trains_where_nothing_is_chosen_unless_it_is_named(folds, flags, valid, test):
    chosen = choose_parts(folds, **flags, validates=False)
    validating = tuple(f"fold_{number}" for number in valid)
    assert chosen == PartChoice(without(*valid, test), validating, (f"fold_{test}",))


def test_every_fold_tests_once_and_validates_once(folds):
    choices = [choose_parts(folds, test_fold=number) for number in range(12)]
    assert {choice.test for choice in choices} == {choice.valid for choice in choices}
    assert len({choice.test for choice in choices}) == 12


def test_parts_by_name_whatever_their_order(tmp_path, write_dataset):
    manifest = write_dataset(tmp_path / "d", parts=("test", "train", "valid"), frames=(5, 9), mel_bands=2).manifest
    assert choose_parts(manifest) == PartChoice(("train",), ("valid",), ("test",))
    assert choose_parts(manifest, validates=False) == PartChoice(("train", "valid"), (), ("test",))
    for flags in ({"test_fold": 0}, {"valid_fold": 0}):
        with pytest.raises(UserError, match=r"^(test|valid)_fold needs a dataset of folds"):
            choose_parts(manifest, **flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"test_fold": 12}, "^test_fold must be from 0 to 11, got 12"),
        ({"test_fold": -1}, "^test_fold must be from 0 to 11, got -1"),
        ({"valid_fold": 12}, "^valid_fold must be from 0 to 11, got 12"),
        ({"valid_fold": 11}, "must differ from valid_fold, both are 11"),
        ({"test_fold": 0, "valid_fold": 0}, "must differ from valid_fold, both are 0"),
    ],
)
def test_folds_that_cannot_be(folds, flags, message):
    with pytest.raises(UserError, match=message):
        choose_parts(folds, **flags)


def test_two_parts_are_too_few(two):
    with pytest.raises(UserError, match=r"needs folds, or the parts train, valid and test; .* has train, test; "):
        choose_parts(two)
    with pytest.raises(UserError, match="--recipe=augmented"):
        choose_parts(two)
    assert choose_parts(two, validates=False) == PartChoice(("train",), (), ("test",))
    with pytest.raises(UserError, match=r"^(test|valid)_fold needs a dataset of folds"):
        choose_parts(two, test_fold=0, validates=False)


@pytest.mark.parametrize(
    "names", [("train", "validation", "test"), ("a", "b", "c"), ("fold_0", "fold_1", "fold_2", "rest"), ("all",)]
)
def test_parts_of_other_names_are_not_guessed_at(tmp_path, write_dataset, names):
    manifest = write_dataset(tmp_path / "d", parts=names, frames=(5, 9), mel_bands=2).manifest
    told = f"has {', '.join(names)}; name the lists train.txt, valid.txt, test.txt$"
    for flags in ({}, {"test_fold": 0}):
        with pytest.raises(UserError, match=told):
            choose_parts(manifest, **flags)


def test_two_folds_are_too_few(tmp_path, write_dataset):
    manifest = write_dataset(tmp_path / "d", parts=("fold_0", "fold_1"), frames=(5, 9), mel_bands=2).manifest
    with pytest.raises(UserError, match=r"needs three folds or more; the dataset has fold_0, fold_1$"):
        choose_parts(manifest)
    # One to train on and one to test on are enough where none chooses.
    assert choose_parts(manifest, validates=False) == PartChoice(("fold_0",), (), ("fold_1",))
    with pytest.raises(UserError, match="three folds or more"):
        choose_parts(manifest, valid_fold=0, validates=False)
    one = write_dataset(tmp_path / "one", parts=("fold_0",), frames=(5, 9), mel_bands=2).manifest
    with pytest.raises(UserError, match=r"needs two folds or more; the dataset has fold_0$"):
        choose_parts(one, validates=False)


def test_parts_without_a_patch_are_refused(two):
    check_patches(two, ["test"], "training", patch_frames=5)
    with pytest.raises(
        UserError, match="train, test should be for training but hold no record of 10 frames; lower --patch_f"
    ):
        check_patches(two, ["train", "test"], "training", patch_frames=10)


def test_folds_are_counted_and_nothing_else_is(folds, two):
    assert count_folds(folds) == 12
    with pytest.raises(
        UserError, match=r"needs a dataset of folds; this one has train, test; write it with .* --folds"
    ):
        count_folds(two)
