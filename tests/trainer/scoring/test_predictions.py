import json
import shutil
import zipfile

import keras
import numpy as np
import pytest

from tfrecords.command_line import UserError
from trainer.scoring.predictions import load_model, predict
from trainer.training_job import CHECKPOINT_FILE, TrainingJob


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the trained job whose checkpoint a test may damage."""
    return shutil.copytree(trained, tmp_path / "job")


def test_probabilities_of_every_patch_in_the_datasets_order(trained, tiny):
    job = TrainingJob.load(trained)
    model = keras.models.load_model(trained / CHECKPOINT_FILE)
    mean, std = job.statistics.mean, job.statistics.std
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
    kernel = model.get_layer("convolution").kernel
    kernel.assign(np.full(kernel.shape, np.inf))
    first = tiny.records["test"][0].track_id
    with pytest.raises(UserError, match=rf"^the model's answer to '{first}' is no number; train again, with a lower"):
        predict(TrainingJob.load(trained), model, str(tiny.path), ("test",))


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
