import dataclasses

import pytest

from tfrecords.command_line import UserError
from tools.ablation_rows import ABLATION, BASE, MODEL, SETTINGS, TABLES, TUNED, TUNING, chosen, make_job
from trainer import models
from trainer.parts import PartChoice
from trainer.training import recipes

# Row -> the one flag by which it differs from the base.
SWITCHES = {
    "no_band_normalization": "model_options",
    "musical_filters": "model",
    "no_gain": "augment",
    "equalizer": "augment",
    "no_mixup": "augment",
    "no_masks": "augment",
    "label_smoothing": "label_smoothing",
    "windows": "patch_mode",
    "warmup": "warmup",
    "no_weight_average": "weight_average",
    "frames_80": "patch_frames",
    "frames_256": "patch_frames",
    "epochs_40": "epochs",
    "modern": "recipe",
}
# What a difference of these is called.
CALLED = {"augment": "other augmentation", "model_options": "other model_options"}


def chosen_row(name):
    return [row for row in ABLATION if row.name == name]


def flag_names(row):
    return [flag.removeprefix("--").partition("=")[0] for flag in row.flags]


def test_each_row_differs_from_the_base_by_its_model_or_one_flag():
    assert ABLATION[0] == BASE and BASE.flags == () and BASE.model == MODEL
    expected = {name: [] if flag == "model" else [flag] for name, flag in SWITCHES.items()}
    assert {row.name: flag_names(row) for row in ABLATION[1:]} == expected
    assert {row.name for row in ABLATION if row.model != MODEL} == {"musical_filters"}


@pytest.fixture(scope="module")
def job_of(write_dataset, tmp_path_factory):
    """A row's job on records that are long enough for all rows."""
    data = write_dataset(tmp_path_factory.mktemp("long") / "data", frames=(300, 310))
    return lambda row, seed=0, epochs=None: make_job(row, data.path, seed, epochs)


def test_each_switch_changes_one_number_of_the_training(job_of):
    base = job_of(BASE)
    assert base.recipe == "augmented" and base.parts == PartChoice(("train", "valid"), (), ("test",))
    for row in ABLATION[1:-1]:
        (difference,) = job_of(row).differences(base)
        assert difference.startswith(CALLED.get(SWITCHES[row.name], f"{SWITCHES[row.name]} "))
    modern = job_of(ABLATION[-1])
    assert modern.recipe == "modern" and modern.parts.valid == ("valid",)


def test_rows_of_variations_lack_those_that_they_name(job_of):
    varied = {row.name: job_of(row).augmentation for row in ABLATION}
    base = varied["base"]
    assert varied["no_mixup"] == dataclasses.replace(base, mixup_alpha=0.0)
    assert varied["no_masks"] == dataclasses.replace(base, frequency_masks=0, time_masks=0)
    assert varied["no_gain"] == dataclasses.replace(base, gain_db=0.0)
    assert varied["equalizer"] == dataclasses.replace(base, equalizer_db=6.0)
    # Else the rows would be the base once more.
    assert len({base, varied["no_mixup"], varied["no_masks"], varied["no_gain"], varied["equalizer"]}) == 5


def test_every_row_can_be_trained(job_of):
    for row in chosen(list(TABLES)):
        job = job_of(row)
        model = models.create(job.model, num_classes=4, input_shape=(job.patch_frames, 40, 1), **job.model_options)
        assert model.name == row.model


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


def test_seed_and_epochs_are_the_jobs_own(job_of):
    job = job_of(BASE, seed=7, epochs=3)
    assert (job.seed, job.epochs) == (7, 3)
    assert job_of(BASE).epochs == recipes.get("augmented").epochs
    # What a row says of itself holds.
    (longer,) = chosen_row("epochs_40")
    assert job_of(longer, epochs=3).epochs == 40
