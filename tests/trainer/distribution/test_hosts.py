import json
import socket
import threading
import time

import pytest

from tfrecords.common.command_line import UserError
from trainer.distribution.hosts import Cluster, HostLostError, meet

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


LIMIT_S = 60.0


@pytest.fixture
def addresses():
    with socket.socket() as held:
        held.bind(("localhost", 0))
        port = held.getsockname()[1]
    return (f"localhost:{port}", "b:1", "c:1")


def started(addresses, index, left):
    """A thread in which a host comes, and leaves its number in `left` when it is sent on."""

    def come():
        meet(Cluster(addresses, index), limit_s=LIMIT_S)
        left.append(index)

    thread = threading.Thread(target=come, daemon=True)
    thread.start()
    return thread


def connected(address):
    """A connection to the chief, as soon as it listens."""
    host, _, port = address.rpartition(":")
    ends = time.monotonic() + LIMIT_S
    while True:
        try:
            return socket.create_connection((host, int(port)))
        except ConnectionRefusedError:
            assert time.monotonic() < ends
            time.sleep(0.01)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_nobody_goes_on_before_the_last_one_is_there(addresses, order):
    left = []
    threads = [started(addresses, index, left) for index in order[:2]]
    time.sleep(0.5)
    assert left == []
    threads.append(started(addresses, order[2], left))
    for thread in threads:
        thread.join(LIMIT_S)
    assert sorted(left) == [0, 1, 2]


def test_strangers_do_not_count(addresses):
    left = []
    threads = [started(addresses, 0, left)]
    for words in (b"PRI * HTTP/2.0\n", b"host 2 of 4\n", b""):
        with connected(addresses[0]) as other:
            other.sendall(words)
    threads.append(started(addresses, 1, left))
    time.sleep(0.5)
    assert left == []
    threads.append(started(addresses, 2, left))
    for thread in threads:
        thread.join(LIMIT_S)
    assert sorted(left) == [0, 1, 2]


@pytest.mark.parametrize(("index", "missing"), [(0, "b:1, c:1"), (1, "the chief, localhost")])
def test_those_who_do_not_come_are_named(addresses, index, missing):
    with pytest.raises(HostLostError, match=rf"not all of the 3 hosts .* within 0\.3 s; missing: {missing}"):
        meet(Cluster(addresses, index), limit_s=0.3)


def test_a_host_that_is_gone_again_is_missing(addresses):
    found = []

    def wait():
        try:
            meet(Cluster(addresses, 0), limit_s=3.0)
        except HostLostError as error:
            found.append(str(error))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    with connected(addresses[0]) as other:
        other.sendall(b"host 1 of 3\n")
        time.sleep(0.3)
    thread.join(LIMIT_S)
    assert "missing: b:1, c:1" in found[0]
