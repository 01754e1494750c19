import json
import socket

import pytest

from tfrecords.common.command_line import UserError
from trainer.distribution.hosts import Cluster

HOSTS = ["a:2222", "b:2222", "c.example.org:80"]


def config(cluster=None, task=None):
    worker = {"worker": HOSTS} if cluster is None else cluster
    return {
        "TF_CONFIG": json.dumps({"cluster": worker, "task": {"type": "worker", "index": 1} if task is None else task})
    }


def test_the_first_worker_is_the_chief():
    assert [Cluster.of(config(task={"type": "worker", "index": index})).is_chief for index in range(3)] == [
        True,
        False,
        False,
    ]
    assert Cluster.of(config()) == Cluster(tuple(HOSTS), 1)


def test_a_chief_of_its_own_comes_before_the_workers():
    cluster = {"chief": ["chief:1"], "worker": HOSTS[:2]}
    found = [
        Cluster.of(config(cluster, task)) for task in ({"type": "chief", "index": 0}, {"type": "worker", "index": 1})
    ]
    assert found == [Cluster(("chief:1", *HOSTS[:2]), 0), Cluster(("chief:1", *HOSTS[:2]), 2)]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "needs the environment variable TF_CONFIG, such as"),
        ({"TF_CONFIG": "a:1,b:1"}, "TF_CONFIG is not JSON"),
        ({"TF_CONFIG": "[]"}, '"cluster" must list the hosts as "worker"'),
        ({"TF_CONFIG": "{}"}, '"cluster" must list the hosts as "worker"'),
        (config({"ps": ["a:1"]}), 'got {"ps": \\["a:1"\\]}'),
        (config({"worker": "a:1"}), '"worker" must be a list of HOST:PORT, got "a:1"'),
        (config({"worker": ["a"]}), 'must be a list of HOST:PORT, got \\["a"\\]'),
        (config({"worker": ["a:1", "b:65536"]}), "; ports are from 1 to 65535"),
        (config({"worker": ["a:0"]}), "; ports are from 1 to 65535"),
        (config({"worker": ["a:1", "a:1"]}), "must be different ones"),
        (config({"worker": []}), "at least one, got \\[\\]"),
        (config({"chief": ["a:1", "b:1"]}), "there must be one chief, got 2"),
        ({"TF_CONFIG": json.dumps({"cluster": {"worker": HOSTS}})}, '"task" must name a type .* got null'),
        (config(task={"type": "evaluator", "index": 0}), '"task" must name a type of the cluster \\(worker\\)'),
        (config(task={"type": "worker", "index": "0"}), '"task" must name .* an index'),
        (config(task={"type": "worker", "index": True}), '"task" must name .* an index'),
        (config(task={"type": ["worker"], "index": 0}), '"task" must name a type'),
        (config(task={"type": "worker", "index": 3}), "index must be from 0 to 2, as there are 3 worker, got 3"),
        (config(task={"type": "worker", "index": -1}), "got -1"),
    ],
)
def test_an_ill_formed_configuration_is_one_line(environ, message):
    with pytest.raises(UserError, match=message) as error:
        Cluster.of(environ)
    assert len(str(error.value).splitlines()) == 1


def test_a_port_in_use_is_one_line():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        own = Cluster((f"localhost:{port}", "b:1"), 0)
        with pytest.raises(UserError, match=f"port {port} of this host, localhost:{port}, cannot be used"):
            own.check_port()
    own.check_port()
