import dataclasses

import pytest
from absl import flags

from tfrecords.augmentation import Augmentation
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import name_flags, naming_flags
from trainer import config, settings
from trainer.config import RECIPES, TrainConfig


def parse(*arguments, skip=()):
    values = flags.FlagValues()
    config.define_flags(values, skip=skip)
    values(["train", *arguments])
    return config.from_flags(values, skip=skip)


def test_every_setting_is_a_flag():
    values = flags.FlagValues()
    config.define_flags(values)
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(values) - {"augment"} == names - {"augmentation"}
    assert all(values[name].help for name in values)


def test_a_flag_that_is_not_given_is_the_recipes():
    assert parse() == TrainConfig()
    for recipe in RECIPES:
        assert parse(f"--recipe={recipe}") == TrainConfig.by_recipe(recipe)
    given = parse("--recipe=augmented", "--epochs=3", "--augment=gain_db=2.5", "--model_options=filters=4")
    assert (given.epochs, given.patch_frames, given.augmentation) == (3, 128, Augmentation(gain_db=2.5))
    assert given.model_options == {"filters": 4}


def test_the_help_lists_what_each_recipe_takes():
    values = flags.FlagValues()
    config.define_flags(values)
    assert values["epochs"].help == "at most; by default 40 (modern), 500 (cbmi2016), 20 (augmented)"
    assert values["patience"].help.endswith("; by default 8 (modern)")
    assert values["learning_rate"].help.endswith("; by default 0.001 (modern), 0.01 (cbmi2016), 0.001 (augmented)")
    assert values["patch_mode"].help.endswith("; by default windows (modern), windows (cbmi2016), random (augmented)")
    text = "gain_db=6,mixup_alpha=0.3,frequency_masks=1,time_masks=1"
    assert values["augment"].help.endswith(f"; by default {text} (augmented)")
    assert (values["warmup"].default, values["seed"].default, values["model"].default) == (0.0, 0, "black_box")


def test_flags_say_again_what_they_said():
    given = parse("--recipe=augmented", "--augment=time_masks=2, gain_db=2.5", "--model_options=filters=4,units=3")
    saved = settings.to_flags(given, skip=("model",))
    assert (saved["augment"], saved["model_options"]) == ("gain_db=2.5,time_masks=2", "filters=4,units=3")
    assert "model" not in saved and saved["patience"] is None
    for name, value in saved.items():
        field = "augmentation" if name == "augment" else name
        assert settings.flag_meaning(TrainConfig, name, value) == getattr(given, field) or value is None
    # Of a file from before the flag.
    assert settings.flag_meaning(TrainConfig, "augment", None) == Augmentation()
    assert settings.flag_meaning(TrainConfig, "gone", 3) == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "tiem"}, "`model` must be one of black_box, time, "),
        ({"recipe": "paper"}, "`recipe` must be one of modern, cbmi2016, augmented, got 'paper'"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be above 0, got nan"),
        ({"weight_average": 1.0}, "`weight_average` must be from 0 to below 1, got 1.0"),
        ({"seed": 1 << 32}, "`seed` must be from 0 to 4294967295, got 4294967296"),
        ({"precision": "float8"}, "`precision` must be one of float32, bfloat16, float16, got 'float8'"),
        ({"patience": None}, "`patience` must be given for `recipe=modern`"),
        ({"recipe": "cbmi2016", "patience": 3}, "`patience` does not apply to `recipe=cbmi2016`"),
    ],
)
def test_a_value_that_is_not_allowed(values, message):
    with pytest.raises(UserError, match=f"^{message}"):
        TrainConfig.by_recipe(**values)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--epochs=0", "--epochs must be from 1 to 1000000000, got 0"),
        ("--patience=-1", "--patience must be from 1 "),
        ("--recipe=cbmi2016 --patience=3", "--patience does not apply to --recipe=cbmi2016, "),
        ("--model_options=filters=many", "--model_options: `filters` must be a whole number"),
        ("--augment=gian_db=3", "--augment: no augmentation is called 'gian_db'"),
    ],
)
def test_a_command_names_the_flag(argument, message):
    values = flags.FlagValues()
    config.define_flags(values)
    with pytest.raises(UserError) as error:
        parse(*argument.split())
    with naming_flags(values):
        assert name_flags(str(error.value)).startswith(message)


def test_a_resized_record_is_one_patch_of_any_length():
    resized = TrainConfig(patch_mode="resize")
    assert (resized.patches_in(7), resized.patches_in(900), resized.min_frames) == (1, 1, 1)
    assert resized.evaluation_mode == "resize" and "each clip resized to one patch" in resized.described
    windows = TrainConfig(patch_mode="random")
    assert (windows.patches_in(79), windows.patches_in(170), windows.min_frames) == (0, 2, 80)
    assert windows.evaluation_mode == "windows"


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 10**400},
        {"seed": -(10**400)},
        {"epochs": None},
        {"learning_rate": float("inf")},
        {"warmup": float("nan")},
    ],
)
def test_a_value_that_no_training_can_have_is_named(values):
    (name,) = values
    with pytest.raises(UserError, match=f"^`{name}` must be "):
        TrainConfig.by_recipe(**values)
