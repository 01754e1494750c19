import copy

import pytest

from trainer import train
from trainer.train import make_job


def train_flags(*arguments):
    """The flags of trainer.train as the command line gives them."""
    values = copy.deepcopy(train.FLAGS)
    values(["train", *arguments])
    return values


def job_of(data_dir, *arguments):
    """A job as the command line makes it: the small model, two epochs, unless told otherwise."""
    small = ["--model=time", "--epochs=2", "--batch_size=4", "--learning_rate=0.01"]
    return make_job(train_flags(f"--data_dir={data_dir}", *small, *arguments))


@pytest.fixture(scope="session", name="train_flags")
def train_flags_fixture():
    return train_flags


@pytest.fixture(scope="session", name="job_of")
def job_of_fixture():
    return job_of


@pytest.fixture(scope="session")
def trained(tiny, tmp_path_factory):
    """Directory of a job trained on the tiny dataset; not to be changed by a test."""
    job_dir = tmp_path_factory.mktemp("trained") / "job"
    job_dir.mkdir()
    train.train(job_of(tiny.path), job_dir)
    return job_dir
