import dataclasses
import json
import zipfile

import keras
import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer.training.training_state import TrainingState, build, values_of

HISTORY = ({"loss": 1.5, "val_loss": 1.25}, {"loss": 1.0, "val_loss": 0.1 + 0.2}, {"loss": 0.5, "val_loss": 0.1 + 0.2})
ARRAYS = {"trainable/0": np.arange(6, dtype=np.float32).reshape(2, 3), "other/0": np.array([1, 2], np.uint32)}


def new_model(units=3):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(units, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    build(model)
    return model


def step_of(model):
    rng = np.random.default_rng(0)
    return model.train_on_batch(rng.normal(size=(8, 4)).astype(np.float32), rng.integers(0, 3, 8))


def test_a_state_is_read_as_it_was_saved(tmp_path):
    TrainingState(HISTORY, 7, ARRAYS).save(tmp_path / "state.npz")
    found = TrainingState.load(tmp_path / "state.npz")
    assert (tuple(found.history), found.step, found.epoch) == (HISTORY, 7, 3)
    assert list(found.variables) == list(ARRAYS)
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(found.variables[name], value, strict=True)
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]
    assert TrainingState().epoch == 0


def test_a_model_goes_on_as_if_it_had_not_stopped(tmp_path):
    keras.utils.set_random_seed(1)
    model = new_model()
    step_of(model)
    TrainingState(variables=values_of(model)).save(tmp_path / "state.npz")
    step_of(model)
    keras.utils.set_random_seed(2)
    other = new_model()
    TrainingState.load(tmp_path / "state.npz").restore(other, tmp_path)
    step_of(other)
    # Weights, moments, iterations, the dropout's seed and the running means.
    expected, found = values_of(model), values_of(other)
    assert {name.split("/")[0] for name in expected} == {"trainable", "other", "optimizer", "metrics"}
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_running_means_are_restored_alone():
    model = new_model()
    step_of(model)
    start = TrainingState(step=1, variables=values_of(model))
    step_of(model)
    model.reset_metrics()
    moved = values_of(model)
    start.restore_metrics(model)
    for name, value in values_of(model).items():
        np.testing.assert_array_equal(value, (start.variables if name.startswith("metrics") else moved)[name])


def test_what_is_saved_does_not_change_with_the_model():
    model = new_model()
    before = values_of(model)
    copies = {name: value.copy() for name, value in before.items()}
    step_of(model)
    for name, value in copies.items():
        np.testing.assert_array_equal(before[name], value)


def test_building_changes_nothing_that_training_starts_from():
    keras.utils.set_random_seed(1)
    model = new_model()
    before = values_of(model)
    build(model)
    for name, value in values_of(model).items():
        np.testing.assert_array_equal(value, before[name])
    assert not any(value.any() for name, value in before.items() if name.startswith(("metrics", "optimizer/0")))


@pytest.mark.parametrize("change", [{"units": 5}, {"missing": "optimizer/0"}, {"extra": "trainable/9"}])
def test_another_models_state_is_refused(tmp_path, change):
    state = TrainingState(variables=values_of(new_model()))
    variables = dict(state.variables)
    variables.pop(change.get("missing"), None)
    if "extra" in change:
        variables[change["extra"]] = np.zeros(1, np.float32)
    model = new_model(change.get("units", 3))
    with pytest.raises(UserError, match=f"^{tmp_path}: not the state of this training .*`overwrite` starts over$"):
        dataclasses.replace(state, variables=variables).restore(model, tmp_path)


@pytest.mark.parametrize("damage", ["empty", "half", "less by one", "bit", "text", "array", "zip", "pickle", "folder"])
def test_a_damaged_state_is_one_line(tmp_path, damage):
    path = tmp_path / "state.npz"
    TrainingState(HISTORY, 7, ARRAYS).save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(ARRAYS["trainable/0"].tobytes()) + 9] ^= 1
    contents = {
        "empty": b"", "half": whole[: len(whole) // 2], "less by one": whole[:-1], "bit": bytes(flipped), "text": b"{}"
    }  # fmt: skip
    path.unlink()
    if damage in contents:
        path.write_bytes(contents[damage])
    elif damage == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            if damage == "zip":
                zipfile.ZipFile(file, "w").writestr("numbers", "{}")
            else:
                np.save(file, np.array([{}] if damage == "pickle" else [1]), allow_pickle=True)
    with pytest.raises(UserError) as error:
        TrainingState.load(path)
    assert str(error.value).startswith(f"{path}: not the state of this training (")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "numbers",
    [
        "",
        "[]",
        "{}",
        "null",
        {"step": -1, "history": []},
        {"step": "x", "history": []},
        {"step": 0},
        {"step": 0, "history": 3},
        {"step": 0, "history": [[]]},
        {"step": 0, "history": [{"accuracy": 1}]},
        {"step": 0, "history": [{"val_loss": "low"}]},
        None,
    ],
)
def test_numbers_of_something_else_are_one_line(tmp_path, numbers):
    text = numbers if isinstance(numbers, str) else json.dumps(numbers)
    with (tmp_path / "state.npz").open("wb") as file:
        np.savez(file, **({} if numbers is None else {"numbers": np.array(text)}), **ARRAYS)
    with pytest.raises(UserError, match=r"state\.npz: not the state of this training \(.*\); `overwrite` starts over$"):
        TrainingState.load(tmp_path / "state.npz")


@pytest.mark.parametrize("version", [{}, {"order_version": 99}])
def test_the_middle_of_an_epoch_in_another_order_is_refused_and_its_end_is_not(tmp_path, version):
    path = tmp_path / "state.npz"
    for step in (0, 2):
        numbers = json.dumps({"step": step, "history": [{"loss": 1.0}], **version})
        np.savez(path, numbers=np.array(numbers))
        if not step:
            assert TrainingState.load(path).epoch == 1
            continue
        with pytest.raises(UserError, match=f"^{path}: stands in the middle of epoch 2, .*another order"):
            TrainingState.load(path)
