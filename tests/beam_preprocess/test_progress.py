import io
import json
import time

import numpy as np
import pytest

from beam_preprocess import progress
from beam_preprocess.config import JobConfig
from beam_preprocess.plan import make_plan
from beam_preprocess.progress import Progress
from beam_preprocess.shards import Rejected, sidecar
from beam_preprocess.write_shard import ShardResult
from tfrecords.manifest import BandStatistics, Shard


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def plan(make_tracks):
    tracks = make_tracks([(f"{index}.wav", "rock") for index in range(10)])
    return make_plan(JobConfig("in", "out", "music", num_shards=2), tracks, ["train"] * 10, {})


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(progress, "_POLL_S", 0.01)


def finish(output, plan, index, rejects=0):
    shard = plan.shards[index]
    result = ShardResult(
        part=shard.part,
        fingerprint=shard.fingerprint,
        shard=Shard(shard.file, 5 - rejects, 100, 1, "0" * 64, f"{100 // (5 - rejects)}x{5 - rejects}"),
        tracks={"rock": 5 - rejects},
        record_frames={100: 1},
        statistics=BandStatistics.of(np.ones((2, 3))),
        rejects=tuple(Rejected(str(number), "uri", "empty", "") for number in range(rejects)),
        audio_s=3600.0,
        contents={},
        sound={},
        work_s={},
    )
    path = output / sidecar(shard.file)
    path.parent.mkdir(exist_ok=True)
    path.write_text(result.to_json())


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_terminal_shows_a_bar_that_is_gone_at_the_end(tmp_path, plan):
    terminal = Terminal()
    with Progress(tmp_path, plan, terminal, result_type=ShardResult):
        wait_for(lambda: "0/10" in terminal.getvalue())
        finish(tmp_path, plan, 0, rejects=1)
        wait_for(lambda: "5/10" in terminal.getvalue() and "1 rejected" in terminal.getvalue())
        finish(tmp_path, plan, 1)
        wait_for(lambda: "10/10" in terminal.getvalue())
    assert "times real time" in terminal.getvalue()
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().rpartition("\r")[0].rpartition("\r")[2].strip() == ""


def test_a_log_gets_whole_lines_now_and_then(tmp_path, plan, monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(progress, "_LOG_EVERY_S", 0.1)
    with Progress(tmp_path, plan, log, result_type=ShardResult):
        finish(tmp_path, plan, 0)
        wait_for(lambda: log.getvalue().count("\n") >= 2)
    lines = log.getvalue().splitlines()
    assert lines[-1].startswith("5 of 10 tracks, 0 rejected, ")
    assert lines[-1].endswith(" times real time")
    assert "\x1b" not in log.getvalue()


def test_a_short_job_writes_nothing_to_a_log(tmp_path, plan):
    log = io.StringIO()
    with Progress(tmp_path, plan, log, result_type=ShardResult):
        finish(tmp_path, plan, 0)
        time.sleep(0.1)
    assert log.getvalue() == ""


def test_kept_shards_count_as_done_but_not_as_speed(tmp_path, plan):
    finish(tmp_path, plan, 0)
    with Progress(tmp_path, plan, io.StringIO(), result_type=ShardResult) as shown:
        assert shown.line() == "5 of 10 tracks, 0 rejected, 0 times real time"


def test_a_result_that_cannot_be_read_is_waited_for(tmp_path, plan):
    finish(tmp_path, plan, 0)
    path = tmp_path / sidecar(plan.shards[0].file)
    whole = path.read_text()
    for broken in (whole[:20], "[]", json.dumps({"part": "train"})):
        path.write_text(broken)
        terminal = Terminal()
        with Progress(tmp_path, plan, terminal, result_type=ShardResult):
            wait_for(lambda terminal=terminal: "0/10" in terminal.getvalue())
            path.write_text(whole)
            wait_for(lambda terminal=terminal: "5/10" in terminal.getvalue())


def test_it_ends_when_the_job_fails(tmp_path, plan):
    with pytest.raises(KeyError), Progress(tmp_path, plan, Terminal(), result_type=ShardResult) as shown:
        raise KeyError
    assert not shown._thread.is_alive()


def test_an_output_elsewhere_is_not_watched(plan):
    with Progress.of("gs://bucket/out", plan, Terminal(), result_type=ShardResult) as shown:
        assert shown is None
