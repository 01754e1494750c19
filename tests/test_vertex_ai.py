"""Vertex AI cannot be run here: its job specifications are read as its API reads them, their arguments as training."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from google.cloud.aiplatform_v1.types.custom_job import CustomJobSpec
from google.protobuf import json_format

from trainer import train
from trainer.distribution.choice import Choice
from trainer.training.directories import Directories

ROOT = Path(__file__).parent.parent
JOBS = sorted((ROOT / "trainer/vertex_ai").glob("*.yaml"))


def specification(path):
    spec = yaml.safe_load(path.read_text("utf-8"))
    return json_format.ParseDict(spec, CustomJobSpec.pb(CustomJobSpec()))


def pools(path):
    return specification(path).worker_pool_specs


def parsed(arguments):
    values = copy.deepcopy(train.FLAGS)
    assert values(["train", *arguments]) == ["train"]
    return values


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_specification_is_one_that_training_understands(path):
    for pool in pools(path):
        assert pool.container_spec.image_uri == "IMAGE" and pool.replica_count >= 1
        assert pool.machine_spec.accelerator_type and pool.machine_spec.accelerator_count >= 1
        flags = parsed(pool.container_spec.args)
        assert flags.data_dir.startswith("gs://BUCKET/") and not flags.job_dir
        assert Choice.of(flags.distribution, tpu=flags.tpu, environ={"TF_CONFIG": ""} | hosts(pools(path), 0))


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_it_writes_below_the_output_directory(path, monkeypatch):
    base = specification(path).base_output_directory.output_uri_prefix
    assert base.startswith("gs://BUCKET/")
    for variable, folder in (
        ("AIP_MODEL_DIR", "model"),
        ("AIP_CHECKPOINT_DIR", "checkpoints"),
        ("AIP_TENSORBOARD_LOG_DIR", "logs"),
    ):
        monkeypatch.setenv(variable, f"{base}/{folder}/")
    found = Directories.of(parsed(pools(path)[0].container_spec.args))
    assert found == Directories(f"{base}/checkpoints/", f"{base}/model/", f"{base}/logs/")
    assert Directories.of(parsed(["--job_dir=JOB"])).job_dir == "JOB"


def hosts(specified, index):
    """TF_CONFIG of the index-th worker, as Vertex AI sets it; nothing for a job of one host."""
    if len(specified) == 1:
        return {}
    workers = ", ".join(f'"worker-{number}:2222"' for number in range(specified[1].replica_count))
    task = f'{{"type": "worker", "index": {index}}}'
    cluster = f'{{"chief": ["chief-0:2222"], "worker": [{workers}]}}'
    return {"TF_CONFIG": f'{{"cluster": {cluster}, "task": {task}, "environment": "cloud"}}'}


def test_the_hosts_of_a_job_are_told_alike_but_for_their_number():
    chief, workers = pools(ROOT / "trainer/vertex_ai/several_hosts.yaml")
    assert chief.container_spec == workers.container_spec and chief.machine_spec == workers.machine_spec
    assert chief.replica_count == 1
    choices = [
        Choice.of("auto", tpu="local", environ=hosts((chief, workers), index)) for index in range(workers.replica_count)
    ]
    assert [choice.cluster.index for choice in choices] == [1, 2, 3]
    assert {choice.hosts for choice in choices} == {4} and not any(choice.is_chief for choice in choices)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_the_command_in_a_specification_names_it(path):
    assert re.search(r"--config=(\S+)", path.read_text("utf-8"))[1] == str(path.relative_to(ROOT))
