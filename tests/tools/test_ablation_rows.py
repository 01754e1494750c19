import pytest

from tfrecords.augmentation import Augmentation
from tfrecords.command_line import UserError
from tools import ablation_rows
from tools.ablation_rows import ABLATION, BASE, MODEL, SETTINGS, TABLES, TUNED, TUNING, chosen
from trainer import models

# Row -> the one flag by which it differs from the base.
SWITCHES = {
    "no_mixup": "augment",
    "no_masks": "augment",
    "no_gain": "augment",
    "windows": "patch_mode",
    "no_label_smoothing": "label_smoothing",
    "no_warmup": "warmup",
    "no_weight_average": "weight_average",
    "frames_80": "patch_frames",
    "modern": "recipe",
}
# Row -> the variations of the base's that it has not.
WITHOUT = {
    "no_mixup": {"mixup_alpha"},
    "no_masks": {"frequency_masks", "time_masks"},
    "no_gain": {"gain_db"},
}


def flag_names(row):
    return [flag.removeprefix("--").partition("=")[0] for flag in row.flags]


def test_each_row_differs_from_the_base_by_one_flag():
    assert ABLATION[0] == BASE and BASE.flags == () and BASE.model == MODEL
    assert {row.name: flag_names(row) for row in ABLATION[1:]} == {name: [flag] for name, flag in SWITCHES.items()}
    assert {row.model for row in ABLATION} == {MODEL}


def variations(row):
    text = row.flags[0].partition("=")[2]
    Augmentation.parse(text)
    return {setting.partition("=")[0]: setting for setting in text.split(",")}


def test_rows_without_a_variation_have_the_others_as_they_are():
    rows = {row.name: variations(row) for row in ABLATION if row.name in WITHOUT}
    base = {name: setting for each in rows.values() for name, setting in each.items()}
    assert set(base) == set().union(*WITHOUT.values())
    for name, left_out in WITHOUT.items():
        assert rows[name] == {own: setting for own, setting in base.items() if own not in left_out}


def test_every_model_is_tuned_by_the_same_settings():
    tuned = {model: [row.flags for row in TUNING if row.model == model] for model in TUNED}
    assert list(tuned) == list(dict.fromkeys(TUNED)) and MODEL in tuned
    assert all(flags == list(SETTINGS.values()) for flags in tuned.values())
    assert len(TUNING) == len(TUNED) * len(SETTINGS)
    assert set(TUNED) <= set(models.MODELS)


def test_no_training_is_done_twice_and_no_directory_is_shared():
    rows = chosen(list(TABLES))
    assert len({(row.model, row.flags) for row in rows}) == len({row.name for row in rows}) == len(rows)
    assert set(rows) == {*ABLATION, *TUNING}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["windows", "no_gain"], ["base", "no_gain", "windows"]),
        (["base"], ["base"]),
        (["ablation"], [row.name for row in ABLATION]),
    ],
)
def test_the_base_is_always_among_the_rows(names, expected):
    assert [row.name for row in chosen(names)] == expected


def test_a_row_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"--rows must be some of ablation, tuning, base, .*, got 'no_such'"):
        chosen(["base", "no_such"])


def test_a_job_is_that_of_the_rows_flags(tiny, monkeypatch):
    monkeypatch.setattr(ablation_rows, "_BASE_FLAGS", ("--recipe=modern", "--augment=gain_db=3"))
    row = ablation_rows.Row("rate", ("--learning_rate=0.5", "--augment="), "time")
    job = ablation_rows.make_job(row, tiny.path, 7, 3)
    assert (job.model, job.seed, job.epochs, job.learning_rate) == ("time", 7, 3, 0.5)
    assert job.augmentation == Augmentation()
    base = ablation_rows.make_job(BASE, tiny.path, 7, None)
    assert base.augmentation == Augmentation(gain_db=3) and base.epochs == 40
