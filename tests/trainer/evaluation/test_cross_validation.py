import dataclasses
from pathlib import Path

import pytest

from tfrecords.common.command_line import UserError
from trainer.evaluation import cross_validation
from trainer.evaluation.cross_validation import CROSS_VALIDATION_FILE, CrossValidation, Run


@pytest.fixture
def asked():
    return CrossValidation("/data", "f" * 64, ("time", "black_box"), (0, 1), 3, {"epochs": 2, "augment": ""}, "command")


def test_every_fold_is_tested_on_once_for_every_model_and_seed(asked):
    runs = asked.runs()
    assert len(runs) == len(set(runs)) == 12
    assert {(run.model, run.seed) for run in runs if run.fold == 2} == {
        (model, seed) for model in ("time", "black_box") for seed in (0, 1)
    }
    assert str(runs[0]) == "time, seed 0, fold 0"
    assert runs[0].job_dir(Path("CV")) == Path("CV/time/seed_0/fold_0")


def test_what_is_saved_is_what_is_loaded(asked, tmp_path):
    asked.save(tmp_path)
    assert CrossValidation.load(tmp_path) == asked
    (tmp_path / CROSS_VALIDATION_FILE).write_text('{"models": []}')
    with pytest.raises(UserError, match=r"cross_validation\.json: not a cross-validation .* `overwrite` starts over"):
        CrossValidation.load(tmp_path)


def test_one_with_a_model_of_an_earlier_version_is_refused(asked, tmp_path):
    asked.save(tmp_path)
    path = tmp_path / CROSS_VALIDATION_FILE
    path.write_text(path.read_text().replace("black_box", "band_cnn"))
    with pytest.raises(UserError, match=f"^{path}: there is no model 'band_cnn' in this version; train one of black_"):
        CrossValidation.load(tmp_path)


def test_more_models_and_seeds_continue_it(asked, tmp_path):
    more = dataclasses.replace(asked, models=("frequency", "black_box", "time"), seeds=(0, 1, 2), command="other")
    more.check_continues(asked, tmp_path)


def test_the_same_settings_in_other_words_continue_it(asked, tmp_path):
    earlier, later = (
        dataclasses.replace(asked, flags={"augment": augment, "model_options": options})
        for augment, options in (
            ("time_masks=2,gain_db=3", "filters=4,filter_frames=8"),
            ("gain_db=3.0, time_masks=2", "filter_frames=8,filters=4"),
        )
    )
    later.check_continues(earlier, tmp_path)
    other = dataclasses.replace(asked, flags={**later.flags, "augment": "gain_db=3"})
    with pytest.raises(UserError, match="differs: augment time_masks=2,gain_db=3, not gain_db=3;"):
        other.check_continues(earlier, tmp_path)


def test_one_that_was_saved_before_there_was_a_choice_is_continued(asked, tmp_path):
    newer = {"precision": "float32", "warmup": 0.0, "label_smoothing": 0.0, "weight_average": 0.0}
    later = dataclasses.replace(asked, flags=asked.flags | newer | {"patch_mode": "windows"})
    later.check_continues(asked, tmp_path)
    other = dataclasses.replace(asked, flags=later.flags | {"warmup": 0.1})
    with pytest.raises(UserError, match=r"differs: warmup None, not 0\.1;"):
        other.check_continues(asked, tmp_path)


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"flags": {"epochs": 3, "augment": ""}}, "epochs 2, not 3"),
        ({"flags": {"epochs": 2, "augment": "", "recipe": "new"}}, "recipe None, not new"),
        ({"fingerprint": "0"}, "other fingerprint"),
        ({"folds": 4}, "folds 3, not 4"),
        ({"models": ("time",)}, "also the models black_box"),
        ({"seeds": (0,)}, "also the seeds 1"),
    ],
)
def test_what_differs_is_named(asked, tmp_path, change, phrase):
    with pytest.raises(UserError, match=f"^{tmp_path} holds a cross-validation that differs: {phrase}; go on with"):
        dataclasses.replace(asked, **change).check_continues(asked, tmp_path)


def test_clearing_leaves_what_is_not_its_own(asked, tmp_path):
    asked.save(tmp_path)
    run_dir = Run("time", 0, 1).job_dir(tmp_path)
    run_dir.mkdir(parents=True)
    earlier_model = tmp_path / "model_of_an_earlier_version" / "seed_0" / "fold_0"
    someone_elses = tmp_path / "notes" / "seed_0" / "fold_0"
    for path in (earlier_model, someone_elses):
        path.mkdir(parents=True)
    (earlier_model / "config.json").write_text("{}")
    for path in (run_dir / "best.keras", tmp_path / "results.json", tmp_path / "notes.txt", tmp_path / "time" / "a"):
        path.write_text("")
    cross_validation.clear(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "model_of_an_earlier_version",
        "model_of_an_earlier_version/seed_0",
        "notes",
        "notes.txt",
        "notes/seed_0",
        "notes/seed_0/fold_0",
        "time",
        "time/a",
        "time/seed_0",
    ]
