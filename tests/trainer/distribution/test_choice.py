import json

import pytest

from tfrecords.common.command_line import UserError
from trainer.distribution.choice import Choice
from trainer.distribution.hosts import Cluster

TF_CONFIG = json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}})


@pytest.mark.parametrize("kind", ["auto", "multi_worker"])
def test_hosts_are_used_where_they_are_named(kind):
    found = Choice.of(kind, tpu="local", environ={"TF_CONFIG": TF_CONFIG})
    assert found == Choice("multi_worker", "local", Cluster(("a:1", "b:1"), 1))
    assert (found.hosts, found.is_chief) == (2, False)


def test_how_a_stopped_training_goes_on_depends_on_who_saves():
    hosts = ("a:1", "b:1")
    assert [Choice("multi_worker", cluster=Cluster(hosts, index)).resuming for index in (0, 1)] == [
        "the same command on all hosts goes on from there",
        "the same command on all hosts goes on from what host 0 saved last",
    ]
    assert Choice().resuming == "the same command goes on from there"


@pytest.mark.parametrize("kind", ["none", "mirrored", "tpu"])
def test_hosts_are_left_alone_by_one_that_is_told_to(kind):
    found = Choice.of(kind, tpu="t", environ={"TF_CONFIG": TF_CONFIG})
    assert found == Choice(kind, "t")
    assert (found.hosts, found.is_chief) == (1, True)


@pytest.mark.parametrize(
    ("kind", "environ", "message"),
    [
        ("gpu", {}, "`distribution` must be one of auto, none, mirrored, multi_worker, tpu, got 'gpu'"),
        ("multi_worker", {}, "needs the environment variable TF_CONFIG"),
        ("mirrored", {"KERAS_BACKEND": "jax"}, "`distribution=mirrored` is TensorFlow's; with KERAS_BACKEND=jax take"),
        ("tpu", {"KERAS_BACKEND": "jax"}, "`distribution=tpu` is TensorFlow's"),
        ("auto", {"KERAS_BACKEND": "jax", "TF_CONFIG": TF_CONFIG}, "several hosts .* not with KERAS_BACKEND=jax"),
    ],
)
def test_what_cannot_be_had_is_one_line(kind, environ, message):
    with pytest.raises(UserError, match=message):
        Choice.of(kind, tpu="local", environ=environ)


def test_jax_takes_all_devices_or_one():
    assert Choice.of("auto", tpu="local", environ={"KERAS_BACKEND": "jax"}) == Choice("auto")
    assert Choice.of("none", tpu="local", environ={"KERAS_BACKEND": "jax", "TF_CONFIG": TF_CONFIG}) == Choice("none")
