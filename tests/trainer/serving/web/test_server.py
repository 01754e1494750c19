import concurrent.futures
import os
import socket
from pathlib import Path

import pytest

from beam_preprocess.audio import Reject
from tests.trainer.serving.web.page_server import CountingRecognizer, ask, recognize, running, wait_until
from trainer.serving.web.app import Limits
from trainer.serving.web.server import take_port

MUSIC = b"music" * 1000


def at_once(number, work):
    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        return list(pool.map(work, range(number)))


def test_ten_files_at_once_are_all_answered_one_at_a_time():
    recognizer = CountingRecognizer(seconds=0.02)
    with running(recognizer) as server:
        answers = at_once(10, lambda number: recognize(server, MUSIC if number % 2 else b"text"))
    assert sorted(answers) == [(200, answers[1][1])] * 5 + [(422, "undecodable")] * 5
    assert recognizer.most_at_once == 1 and len(recognizer.sizes) == 10


def test_a_file_too_many_is_told_so_and_finds_a_place_later():
    recognizer = CountingRecognizer()
    recognizer.gate.clear()
    with running(recognizer, files=2) as server, concurrent.futures.ThreadPoolExecutor(2) as pool:
        held = [pool.submit(recognize, server, MUSIC) for _ in range(2)]
        wait_until(server.app._places.locked)
        assert recognize(server, MUSIC) == (503, "busy")
        assert ask(server, "GET", "/")[0] == 200
        recognizer.gate.set()
        assert [waiting.result()[0] for waiting in held] == [200, 200]
        assert recognize(server, MUSIC)[0] == 200


def test_a_connection_too_many_is_told_so():
    with running(connections=2) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        wait_until(lambda: server.connections == 2)
        assert recognize(server, b"") == (503, "busy")
        for connection in idle:
            connection.close()
        wait_until(lambda: not server.connections)
        assert recognize(server, MUSIC)[0] == 200


def test_a_port_in_use_is_an_error():
    with running() as server, pytest.raises(OSError, match="Address already in use"):
        take_port(server.port)


@pytest.mark.parametrize("name", ["upload_bytes", "duration_s", "connections", "files", "head_s", "body_s", "linger_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_are_above_0(name, value):
    with pytest.raises(ValueError, match=f"{name} must be above 0"):
        Limits(**{"upload_bytes": 1, "duration_s": 1, name: value})


def test_only_this_machine_can_reach_it():
    with take_port(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_client_that_goes_away_leaves_the_server_answering(capfd):
    with running() as server:
        for sent in (b"", b"POST /recognition HTTP/1.1\r\n", b"\x16\x03\x01\x02"):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(sent)
        assert recognize(server, MUSIC)[0] == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_large_files_sent_at_once_do_not_fill_the_memory(tmp_path):
    class Weighing(CountingRecognizer):
        def recognize(self, file, *, max_duration_s):
            self.sizes.append(file.seek(0, 2))
            self.resident = max(getattr(self, "resident", 0), resident_bytes())
            raise Reject("undecodable", "Format not recognised")

    big, recognizer = tmp_path / "big.mp3", Weighing()
    with big.open("wb") as sparse:
        sparse.truncate(100_000_000)

    def send(number):
        with big.open("rb") as body:
            return recognize(server, body, {"Content-Length": "100000000"})

    before = resident_bytes()
    with running(recognizer, upload_bytes=100_000_000) as server:
        assert at_once(10, send) == [(422, "undecodable")] * 10
        assert recognize(server, b"small") == (422, "undecodable")
    assert recognizer.sizes == [100_000_000] * 10 + [5]
    assert recognizer.resident - before < 100e6
    with running(recognizer) as server:
        assert send(0) == (413, "too_large")
        assert recognize(server, b"small") == (422, "undecodable")


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
