import dataclasses
import json
import shutil

import numpy as np
import pytest

from beam_predict.model import BATCH, ModelFacts, load_network
from tfrecords.common.command_line import UserError


@pytest.fixture
def copy_of(tmp_path):
    """A copy of a model's directory that a test may damage."""
    return lambda directory: shutil.copytree(directory, tmp_path / "copy")


def test_a_job_and_its_export_say_the_same(trained, exported):
    job, export = (vars(ModelFacts.read(str(directory))) for directory in (trained, exported))
    for name in ("name", "labels", "genres", "front_end", "resizes", "patch_frames", "mean"):
        assert job[name] == export[name], name
    np.testing.assert_allclose(job["std"], export["std"])
    assert job["confidence"] is not None
    assert job["confidence"] == export["confidence"]
    assert (job["is_export"], export["is_export"]) == (False, True)


def test_facts_depend_on_the_files_alone(trained, copy_of):
    facts = ModelFacts.read(str(trained))
    copy = copy_of(trained)
    (copy / "history.csv").unlink()
    assert ModelFacts.read(str(copy)).fingerprint == facts.fingerprint
    (copy / "confidence.json").unlink()
    assert ModelFacts.read(str(copy)).fingerprint != facts.fingerprint
    facts = ModelFacts.read(str(copy))
    with (copy / "best.keras").open("ab") as file:
        file.write(b"x")
    assert ModelFacts.read(str(copy)).fingerprint != facts.fingerprint


@pytest.mark.parametrize("name", ["job", "export"])
def test_a_network_pads_its_batch(trained, exported, name):
    facts = ModelFacts.read(str(trained if name == "job" else exported))
    network = load_network(facts, embedding=True)
    patches = np.random.default_rng(0).uniform(0, 3, (BATCH, 80, 40)).astype(np.float32)
    probabilities, units = network(patches)
    assert probabilities.shape == (BATCH, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    few = network(patches[:5])
    np.testing.assert_allclose(few[0], probabilities[:5], atol=1e-6)
    np.testing.assert_allclose(few[1], units[:5], atol=1e-5)


def test_neither_a_job_nor_an_export(tmp_path):
    with pytest.raises(UserError, match="holds neither a trained job"):
        ModelFacts.read(str(tmp_path))


def test_a_job_without_a_model(trained, copy_of):
    copy = copy_of(trained)
    (copy / "best.keras").unlink()
    with pytest.raises(UserError, match=r"best\.keras: No such file"):
        ModelFacts.read(str(copy))


@pytest.mark.parametrize("change", [{"labels": 3}, {"normalisation": {}}, {"normalisation": {"mean": [1], "std": [1]}}])
def test_an_export_of_another_version(exported, copy_of, change):
    copy = copy_of(exported)
    facts = json.loads((copy / "export.json").read_text()) | change
    (copy / "export.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"not of an export of this version .*; export again"):
        ModelFacts.read(str(copy))


def test_labels_that_do_not_match(exported, copy_of):
    copy = copy_of(exported)
    facts = json.loads((copy / "export.json").read_text())
    (copy / "export.json").write_text(json.dumps(facts | {"labels": ["a", "b"]}))
    with pytest.raises(UserError, match=r"not the model that export\.json describes"):
        load_network(ModelFacts.read(str(copy)), embedding=False)


def test_a_model_that_is_not_the_one_that_was_planned(trained):
    facts = dataclasses.replace(ModelFacts.read(str(trained)), fingerprint="0" * 64)
    with pytest.raises(UserError, match="the model has changed since the job began"):
        load_network(facts, embedding=False)


def test_a_damaged_model(exported, copy_of):
    copy = copy_of(exported)
    (copy / "model.keras").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"model\.keras: cannot be loaded") as info:
        load_network(ModelFacts.read(str(copy)), embedding=False)
    assert "\n" not in str(info.value)
