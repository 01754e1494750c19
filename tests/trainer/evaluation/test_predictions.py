import copy
import json
import random
import shutil
import zipfile
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tools.json_edits import edited_archive
from trainer import predict as predict_command
from trainer.evaluation.predictions import load_model, predict
from trainer.training_job import CHECKPOINT_FILE, TrainingJob


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the trained job whose checkpoint a test may damage."""
    return shutil.copytree(trained, tmp_path / "job")


def test_probabilities_of_every_patch_in_the_datasets_order(trained, tiny):
    job = TrainingJob.load(trained)
    model = keras.models.load_model(trained / CHECKPOINT_FILE)
    mean, std = job.statistics.mean, job.statistics.scale
    probabilities, labels, track_ids = [], [], []
    for record in [*tiny.records["valid"], *tiny.records["test"]]:
        for start in range(0, len(record.log_mel) - 79, 80):
            patch = (record.log_mel[start : start + 80] - mean) / std
            probabilities.append(model.predict_on_batch(patch[np.newaxis, :, :, np.newaxis].astype(np.float32))[0])
            labels.append(record.label)
            track_ids.append(record.track_id)
    found = predict(job, load_model(trained), str(tiny.path), ("valid", "test"))
    np.testing.assert_allclose(found.probabilities, probabilities, atol=1e-5)
    assert found.labels.tolist() == labels
    assert list(found.track_ids) == track_ids
    assert found.label_names == tiny.manifest.labels


def test_file_names_that_are_no_utf8_come_through(trained, tmp_path, write_dataset):
    data = write_dataset(tmp_path / "data", labels=("\udcff", "jazz", "rock"))
    found = predict(TrainingJob.load(trained), load_model(trained), str(data.path), ("test",))
    assert found.track_ids[0] == "\udcff/test 0 é.wav"


def test_an_answer_that_is_no_number_is_one_line(trained, tiny):
    model = load_model(trained)
    # Whatever computes the last layer, and however: what is added to its outputs is in them.
    bias = model.get_layer("genre").bias
    bias.assign(np.full(bias.shape, np.nan))
    first = tiny.records["test"][0].track_id
    with pytest.raises(UserError, match=rf"^the model's answer to '{first}' is no number; train again, with a lower"):
        predict(TrainingJob.load(trained), model, str(tiny.path), ("test",))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_the_track_of_the_first_answer_that_is_no_number_is_named(trained, tiny, wrong):
    def answer(patches):
        found = np.full((len(patches), 3), 1 / 3, np.float32)
        found[2:, 1] = wrong
        return found

    patches = [record for record in tiny.records["test"] for _ in range(len(record.log_mel) // 80)]
    with pytest.raises(UserError, match=rf"^the model's answer to '{patches[2].track_id}' is no number"):
        predict(TrainingJob.load(trained), SimpleNamespace(predict_on_batch=answer), str(tiny.path), ("test",))


def test_a_corrupt_shard_is_one_line(trained, tmp_path, write_dataset):
    data = write_dataset(tmp_path / "data")
    path = data.shards("test")[1]
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{path}: (corrupt|torn) at byte \d+"):
        predict(TrainingJob.load(trained), load_model(trained), str(data.path), ("test",))


def test_no_model_yet(copied):
    (copied / CHECKPOINT_FILE).unlink()
    with pytest.raises(UserError, match=r"best\.keras: no model yet"):
        load_model(copied)


def empty(path):
    path.write_bytes(b"")


def torn(path):
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def another_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", json.dumps({"module": "nowhere", "class_name": "Nothing"}))


@pytest.mark.parametrize("damage", [empty, torn, flipped, another_zip])
def test_a_damaged_checkpoint_is_one_line(copied, damage):
    damage(copied / CHECKPOINT_FILE)
    with pytest.raises(UserError) as error:
        load_model(copied)
    assert str(error.value).startswith(f"{copied / CHECKPOINT_FILE}: cannot be loaded (")
    assert len(str(error.value).splitlines()) == 1


def rewritten(path, *, version, change):
    """Edits a checkpoint as another Keras could have written it; `change` may alter the convolution in its config."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config, metadata = (json.loads(files[name]) for name in ("config.json", "metadata.json"))
    change(next(layer for layer in config["config"]["layers"] if layer["config"]["name"] == "convolution"))
    metadata["keras_version"] = version
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | as_json(config, metadata)).items():
            archive.writestr(name, content)


def as_json(config, metadata):
    return {"config.json": json.dumps(config), "metadata.json": json.dumps(metadata)}


CHANGES = {
    "unknown class": lambda layer: layer.update(class_name="Conv9D"),
    "unknown module": lambda layer: layer.update(module="keras.later", class_name="Conv9D"),
    "unknown argument": lambda layer: layer["config"].update(later=1),
    "missing argument": lambda layer: layer["config"].pop("filters"),
    "unknown function": lambda layer: layer["config"].update(activation="later"),
    "unknown object": lambda layer: layer["config"]["kernel_initializer"].update(class_name="Later"),
    "unknown precision": lambda layer: layer["config"]["dtype"]["config"].update(name="float4"),
    "no layer": lambda layer: layer.clear() or layer.update(config={"name": "convolution"}),
    "no config": lambda layer: layer.update(config=None),
    "other weights": lambda layer: layer["config"].update(filters=7),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_newer_keras_saved_names_both_versions(copied, change):
    path = copied / CHECKPOINT_FILE
    rewritten(path, version="99.0.0", change=change)
    with pytest.raises(UserError) as error:
        load_model(copied)
    expected = f"{path}: the model was saved by Keras 99.0.0, and this is Keras {keras.__version__}: "
    assert str(error.value) == f"{expected}upgrade keras or train again"


@pytest.mark.parametrize(
    ("change", "version"),
    [
        *((change, keras.__version__) for change in CHANGES),
        *(("unknown argument", version) for version in ("3.0.0", None, "99\n")),
    ],
)
def test_what_no_newer_keras_saved_is_one_short_line(copied, change, version):
    path = copied / CHECKPOINT_FILE
    rewritten(path, version=version, change=CHANGES[change])
    with pytest.raises(UserError) as error:
        load_model(copied)
    said = str(error.value)
    assert said.startswith(f"{path}: cannot be loaded (") and said.endswith("); train again")
    assert len(said.splitlines()) == 1 and len(said) < len(str(path)) + 300


def test_the_line_has_the_cause_and_not_the_configuration(copied):
    rewritten(copied / CHECKPOINT_FILE, version=keras.__version__, change=CHANGES["unknown argument"])
    with pytest.raises(UserError, match=r"cannot be loaded \(Unrecognized keyword arguments .* Conv2D: {'later': 1}\)"):
        load_model(copied)


def test_a_newer_keras_whose_model_can_be_read_is_of_no_concern(copied):
    rewritten(copied / CHECKPOINT_FILE, version="99.0.0", change=lambda layer: None)
    assert load_model(copied).name == "time"


def test_the_line_is_all_that_a_command_prints(copied, tmp_path, capfd):
    rewritten(copied / CHECKPOINT_FILE, version="99.0.0", change=CHANGES["unknown argument"])
    (tmp_path / "a.wav").write_bytes(b"")
    argv = ["predict", f"--job_dir={copied}", str(tmp_path / "a.wav")]
    with pytest.raises(SystemExit) as ended:
        command_line.run(predict_command.main, copy.deepcopy(predict_command.FLAGS), usage="", argv=argv)
    printed, said = capfd.readouterr()
    assert (ended.value.code, printed) == (2, "")
    assert said.startswith(f"error: {copied / CHECKPOINT_FILE}: the model was saved by Keras 99.0.0, and")
    assert len(said.splitlines()) == 1


def test_a_model_with_numbers_that_are_not_finite_is_refused(copied):
    path = copied / CHECKPOINT_FILE
    model = keras.models.load_model(path, compile=False)
    kernel, bias = model.get_layer("convolution").get_weights()
    kernel[0, 0, 0, 0] = np.nan
    model.get_layer("convolution").set_weights([kernel, bias])
    model.save(path)
    with pytest.raises(UserError, match=r"best\.keras: .*convolution/kernel holds numbers that are not finite"):
        load_model(copied)


def test_a_model_that_gives_no_probabilities_is_refused(copied):
    path = copied / CHECKPOINT_FILE
    model = keras.models.load_model(path, compile=False)
    model.layers[-1].activation = keras.activations.linear
    model.save(path)
    with pytest.raises(UserError, match=r"best\.keras: the model does not end with a softmax"):
        load_model(copied)


def test_a_model_of_another_shape_is_refused(copied, tiny):
    other = keras.Sequential([keras.Input((9, 9, 1)), keras.layers.Flatten(), keras.layers.Dense(7, "softmax")])
    other.save(copied / CHECKPOINT_FILE)
    with pytest.raises(UserError, match=r"best\.keras: the model maps .*9, 9, 1.* its job's configuration says"):
        load_model(copied)


def test_an_edited_model_is_taken_or_refused_in_one_line(copied):
    path, rng = copied / CHECKPOINT_FILE, random.Random(0)
    original, refused = path.read_bytes(), 0
    for _ in range(40):
        path.write_bytes(edited_archive(original, "config.json", rng))
        try:
            load_model(copied)
        except UserError as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
    assert 10 < refused < 40
