import io
import socket
import threading
import time

import pytest

from trainer.serving.web.deadline import DeadlineReader


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    one.settimeout(5)
    with one, other:
        yield one, other


def test_it_reads_to_the_end(ends):
    one, other = ends
    reader = io.BufferedReader(DeadlineReader(one, 5))
    other.sendall(b"line\nrest")
    other.shutdown(socket.SHUT_WR)
    assert reader.readline() == b"line\n" and reader.read() == b"rest"


def test_bytes_that_trickle_in_do_not_move_the_deadline(ends):
    one, other = ends
    reader = io.BufferedReader(DeadlineReader(one, 0.3))
    stop = threading.Event()

    def trickle():
        while not stop.wait(0.05):
            other.sendall(b"m")

    thread = threading.Thread(target=trickle)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        reader.read(1000)
    stop.set()
    thread.join()
    # All of it would take 50 s.
    assert 0.2 < time.monotonic() - begun < 30
    # The connection's own timeout, for what is written, is as it was.
    assert one.gettimeout() == 5


def test_the_deadline_can_be_moved(ends):
    one, other = ends
    raw = DeadlineReader(one, 0)
    with pytest.raises(TimeoutError):
        raw.read(1)
    raw.ends = time.monotonic() + 5
    other.sendall(b"m")
    assert raw.read(1) == b"m"
