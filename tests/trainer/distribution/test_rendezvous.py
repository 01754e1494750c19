import socket
import threading
import time

import pytest

from trainer.distribution.hosts import Cluster, HostLostError, meet

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
