import concurrent.futures
import contextlib
import ctypes
import dataclasses
import json
import os
import pickle
import resource
import threading
import types
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import threadpoolctl

from beam_preprocess import shards, storage, write_shard
from beam_preprocess import shards as module
from beam_preprocess.audio import decode
from beam_preprocess.audio import front_end as front_end_module
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import list_tracks
from beam_preprocess.label_sound import LabelSound
from beam_preprocess.plan import make_plan
from beam_preprocess.shards import REJECTS, Rejected, Stopwatch, finished_result, place_shard, sidecar
from beam_preprocess.write_manifest import DatasetSpec, WriteManifest
from beam_preprocess.write_shard import CONTENTS, ShardResult, WriteShard
from tfrecords import schema
from tfrecords.dataset import Dataset
from tfrecords.manifest import BandStatistics, Shard
from tfrecords.shard import read_records


@pytest.fixture(scope="module")
def front_end():
    return FrontEnd(JobConfig("in", "out", "x").front_end)


@pytest.fixture
def planned(clips, tmp_path, job_config):
    """The configuration and plan of one shard of the twelve clips."""
    return plan_one(clips, job_config(clips, tmp_path / "out"))


def plan_one(source, config):
    config = dataclasses.replace(config, num_shards=1)
    tracks = list_tracks(str(source))
    plan = make_plan(config, tracks, ["train"] * len(tracks), {})
    storage.make_directories(storage.partial_dir(config.output))
    return config, plan.shards[0], plan.labels


def write(config, plan, labels, front_end):
    worker = WriteShard(config, front_end, labels)
    worker.setup()
    list(worker.process(plan.to_json()))
    result = ShardResult.from_json(Path(config.output, sidecar(plan.file)).read_text("utf-8"))
    place_shard(config.output, result.shard)
    return result


def records(config, plan):
    with Path(config.output, plan.file).open("rb") as file:
        return [schema.decode(data, mel_bands=40, dtype=config.record_dtype) for data in read_records(file, plan.file)]


def spectrograms(plan, front_end):
    """Each track's spectrogram before rounding."""
    found = {}
    for track in plan.tracks:
        with Path(track.uri).open("rb") as file:
            found[track.track_id] = front_end(decode(file, sample_rate=22050, min_samples=1, max_duration_s=60))
    return found


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_records_hold_the_front_ends_output(planned, front_end, dtype):
    config, plan, labels = planned
    config = dataclasses.replace(config, record_dtype=dtype)
    write(config, plan, labels, front_end)
    expected = spectrograms(plan, front_end)
    found = records(config, plan)
    assert [record.track_id for record in found] == [track.track_id for track in plan.tracks]
    for record in found:
        assert record.log_mel.dtype == dtype
        np.testing.assert_array_equal(record.log_mel, expected[record.track_id].astype(dtype))
        assert labels[record.label] == record.track_id.split("/")[0]
        assert (record.group, record.segment) == (record.track_id, 0)


def test_the_result_tells_of_the_file(planned, front_end, contents):
    config, plan, labels = planned
    result = write(config, plan, labels, front_end)
    expected = np.concatenate(list(spectrograms(plan, front_end).values())).astype(np.float64)
    assert result.tracks == {"blues": 4, "jazz": 4, "rock": 4}
    assert (result.shard.records, result.shard.frames) == (12, len(expected))
    assert sum(frames * count for frames, count in result.record_frames.items()) == len(expected)
    np.testing.assert_allclose(result.statistics.mean, expected.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(result.statistics.variance, expected.var(axis=0), rtol=1e-9)
    assert result.audio_s == pytest.approx(len(expected) * 512 / 22050)
    assert result.rejects == ()


def test_statistics_do_not_depend_on_the_records_precision(planned, front_end):
    config, plan, labels = planned
    half = write(config, plan, labels, front_end)
    Path(config.output, sidecar(plan.file)).unlink()
    full = write(dataclasses.replace(config, record_dtype="float32"), plan, labels, front_end)
    np.testing.assert_array_equal(half.statistics.m2, full.statistics.m2)


def test_pickled_the_worker_writes_the_same(planned, front_end):
    config, plan, labels = planned
    first = write(config, plan, labels, front_end)
    Path(config.output, sidecar(plan.file)).unlink()
    worker = pickle.loads(pickle.dumps(WriteShard(config, front_end, labels)))
    worker.setup()
    *_, second = worker.process(plan.to_json())
    assert second.shard == first.shard


def test_what_is_told_of_single_tracks_is_not_in_the_result(planned, front_end):
    config, plan, labels = planned
    lost = dataclasses.replace(plan.tracks[0], uri="/nowhere.wav")
    plan = dataclasses.replace(plan, tracks=(lost, *plan.tracks[1:]))
    worker = WriteShard(config, front_end, labels)
    worker.setup()
    *tagged, result = worker.process(plan.to_json())
    (reject,) = [item.value for item in tagged if item.tag == REJECTS]
    contents = {track_id.decode(): content for content, track_id in (i.value for i in tagged if i.tag == CONTENTS)}
    kept = ShardResult.from_json(Path(config.output, sidecar(plan.file)).read_text("utf-8"))
    assert (kept.rejects, kept.contents) == ((reject,), contents)
    assert (reject.track_id, contents.keys()) == (lost.track_id, {track.track_id for track in plan.tracks[1:]})
    assert (result.rejects, result.contents) == ((), {})
    assert result.shard == kept.shard


def test_rejects_name_file_and_reason(tmp_path, make_clips, job_config, front_end):
    music = tmp_path / "music"
    good, text, torn, short = make_clips(music, labels=("jazz",))
    text.write_text("not audio")
    os.truncate(torn, 3000)
    soundfile.write(short, np.zeros(100), 22050)
    (music / "jazz" / "gone.wav").symlink_to(music / "nowhere")
    config, plan, labels = plan_one(music, job_config(music, tmp_path / "out"))
    result = write(config, plan, labels, front_end)
    found = {reject.track_id: (reject.uri, reject.reason) for reject in result.rejects}
    assert found == {
        "jazz/gone.wav": (str(music / "jazz" / "gone.wav"), "unreadable"),
        "jazz/jazz.00001.wav": (str(text), "undecodable"),
        "jazz/jazz.00002.wav": (str(torn), "truncated"),
        "jazz/jazz.00003.wav": (str(short), "too_short"),
    }
    assert all(reject.detail for reject in result.rejects)
    assert [record.track_id for record in records(config, plan)] == [f"jazz/{good.name}"]
    assert result.tracks == {"jazz": 1}


def test_the_shortest_clip_gives_min_frames(tmp_path, job_config, front_end):
    for samples in (79 * 512, 79 * 512 - 1):
        path = tmp_path / "music" / "jazz" / f"{samples}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(samples, 0.1), 22050)
    config, plan, labels = plan_one(tmp_path / "music", job_config(tmp_path / "music", tmp_path / "out"))
    result = write(config, plan, labels, front_end)
    assert result.record_frames == {80: 1}
    assert [reject.track_id for reject in result.rejects] == [f"jazz/{79 * 512 - 1}.wav"]


def test_long_recordings_are_split_into_segments(planned, front_end, monkeypatch):
    config, plan, labels = planned
    monkeypatch.setattr(front_end_module, "MAX_RECORD_FRAMES", 50)
    result = write(config, plan, labels, front_end)
    found = records(config, plan)
    assert max(len(record.log_mel) for record in found) <= 50
    assert sum(result.tracks.values()) == 12
    assert len(found) == result.shard.records > 24
    for track_id, whole in spectrograms(plan, front_end).items():
        pieces = [record for record in found if record.track_id == track_id]
        assert [piece.segment for piece in pieces] == list(range(len(pieces)))
        np.testing.assert_array_equal(np.concatenate([piece.log_mel for piece in pieces]), whole.astype(np.float16))


def test_a_finished_shard_is_kept(planned, front_end):
    config, plan, labels = planned
    assert finished_result(config.output, plan, ShardResult) is None
    first = write(config, plan, labels, front_end)
    path = Path(config.output, plan.file)
    before = path.stat().st_mtime_ns
    second = write(config, plan, labels, front_end)
    assert second.to_json() == first.to_json()
    assert path.stat().st_mtime_ns == before


def test_a_shard_that_is_not_whole_is_written_again(planned, front_end):
    config, plan, labels = planned
    first = write(config, plan, labels, front_end)
    path, side = (Path(config.output, name) for name in (plan.file, sidecar(plan.file)))

    def torn():
        os.truncate(path, 100)

    def lost():
        path.unlink()

    def torn_sidecar():
        os.truncate(side, 100)

    for damage in (torn, lost, torn_sidecar):
        damage()
        assert finished_result(config.output, plan, ShardResult) is None
        assert write(config, plan, labels, front_end).shard == first.shard
        assert path.stat().st_size == first.shard.bytes


def test_a_shard_of_another_plan_is_written_again(planned, front_end):
    config, plan, labels = planned
    write(config, plan, labels, front_end)
    assert finished_result(config.output, dataclasses.replace(plan, fingerprint="another"), ShardResult) is None


def test_a_shard_that_lacks_unreadable_files_is_written_again(tmp_path, make_clips, job_config, front_end):
    music = tmp_path / "music"
    paths = make_clips(music, labels=("jazz",))
    away = paths[0].rename(tmp_path / "away.wav")
    paths[0].symlink_to(tmp_path / "unmounted.wav")
    config, plan, labels = plan_one(music, job_config(music, tmp_path / "out"))
    assert [reject.reason for reject in write(config, plan, labels, front_end).rejects] == ["unreadable"]
    away.rename(tmp_path / "unmounted.wav")
    assert write(config, plan, labels, front_end).tracks == {"jazz": 4}


@pytest.mark.parametrize("in_store", [False, True])
@pytest.mark.parametrize("chosen", [0, 1])
def test_two_attempts_at_once_leave_the_file_of_the_one_that_is_chosen(planned, front_end, chosen, in_store, memory):
    """An engine that lost sight of a worker: one attempt cannot read a file, the other ends while it runs, or after."""
    config, plan, labels = planned
    if in_store:
        config = dataclasses.replace(config, output="memory://bucket/out")
    elsewhere = dataclasses.replace(plan.tracks[0], uri="/nowhere.wav")
    plans = [plan, dataclasses.replace(plan, tracks=(elsewhere, *plan.tracks[1:]))]
    both_opened = threading.Barrier(2)
    replacing = storage.replacing

    @contextlib.contextmanager
    def together(output, name, **options):
        with replacing(output, name, **options) as file:
            both_opened.wait()
            yield file
            both_opened.wait()

    def attempt(plan):
        worker = WriteShard(config, front_end, labels)
        worker.setup()
        return list(worker.process(plan.to_json()))

    with pytest.MonkeyPatch.context() as patch, concurrent.futures.ThreadPoolExecutor(2) as pool:
        patch.setattr(shards.storage, "replacing", together)
        attempts = list(pool.map(attempt, plans))
    *tagged, result = attempts[chosen]
    rejects = [item.value for item in tagged if item.tag == REJECTS]
    spec = DatasetSpec(config, labels, ("train",), {}, 1, len(plan.tracks), "f")
    WriteManifest(spec).process([result], rejects, [])
    dataset = Dataset(config.output)
    assert list(dataset.verify()) == []
    found = {record.track_id for record in dataset.records("train")}
    assert (plan.tracks[0].track_id in found) == (chosen == 0)
    # The late one, after the end: what it leaves is no part of the dataset.
    attempt(plans[1 - chosen])
    assert list(Dataset(config.output).verify()) == []


def test_a_worker_that_fails_leaves_nothing(planned, front_end, contents, monkeypatch):
    config, plan, labels = planned
    calls = []

    def fail_late(record):
        calls.append(record)
        if len(calls) == 3:
            raise MemoryError
        return b"record"

    monkeypatch.setattr(write_shard, "encode", fail_late)
    with pytest.raises(MemoryError):
        write(config, plan, labels, front_end)
    assert not [path for path in Path(config.output).rglob("*") if path.is_file()]


def test_the_sidecar_is_json_of_the_result(planned, front_end):
    config, plan, labels = planned
    result = write(config, plan, labels, front_end)
    text = Path(config.output, sidecar(plan.file)).read_text("utf-8")
    assert json.loads(text) == json.loads(result.to_json())


def result():
    values = np.random.default_rng(0).normal(size=(7, 3)) * np.pi
    return ShardResult(
        part="fold_0",
        fingerprint="abc",
        shard=Shard("music-fold_0.tfrecord-00000-of-00001", 2, 7, 100, "f0" * 32),
        tracks={"R&B": 1, "日本": 1},
        record_frames={4: 1, 3: 1},
        statistics=BandStatistics.of(values),
        rejects=(Rejected("caf\udce9.wav", '/in/"a"\n.wav', "empty", "no samples"),),
        audio_s=1 / 3,
        contents={"caf\udce9.wav": "00ff"},
        sound={"R&B": LabelSound(Counter({22050: 2}), Counter({11000: 1, 8000: 1}), 1, 0)},
        work_s={"decode": 0.1},
    )


def test_round_trip_is_exact():
    one = result()
    text = one.to_json()
    assert text.isascii()
    assert len(text.splitlines()) == 1
    other = ShardResult.from_json(text)
    assert other.to_json() == text
    assert (other.shard, other.tracks, other.record_frames) == (one.shard, one.tracks, one.record_frames)
    assert (other.rejects, other.audio_s, other.part) == (one.rejects, one.audio_s, one.part)
    assert (other.contents, other.work_s, other.sound) == (one.contents, one.work_s, one.sound)
    assert other.statistics.count == 7
    np.testing.assert_array_equal(other.statistics.mean, one.statistics.mean)
    np.testing.assert_array_equal(other.statistics.m2, one.statistics.m2)


def test_results_of_shards_merge_as_if_they_were_one():
    values = np.random.default_rng(1).normal(size=(20, 3))
    read = [
        ShardResult.from_json(json.dumps(json.loads(result().to_json()) | {"statistics": part.to_json()})).statistics
        for part in (BandStatistics.of(values[:3]), BandStatistics.of(values[3:]))
    ]
    merged = BandStatistics.merged(read, 3)
    np.testing.assert_allclose(merged.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(merged.variance, values.var(axis=0), rtol=1e-12)


def test_a_line_of_the_rejects_file():
    line = Rejected("a.wav", "/in/a.wav", "too_short", "0.10 s").to_json()
    assert json.loads(line) == {"track_id": "a.wav", "uri": "/in/a.wav", "reason": "too_short", "detail": "0.10 s"}


@pytest.mark.parametrize("text", ["", "null", "[]", "7", "{", '{"part": "fold_0"}', "torn" * 9])
def test_another_text(text):
    with pytest.raises(ValueError, match=r"."):
        ShardResult.from_json(text)


def test_a_torn_text():
    text = result().to_json()
    for length in range(0, len(text) - 1, 17):
        with pytest.raises(ValueError, match=r"."):
            ShardResult.from_json(text[:length])


def test_a_result_with_a_field_of_another_version():
    with pytest.raises(ValueError, match="more is not known"):
        ShardResult.from_json(json.dumps(json.loads(result().to_json()) | {"more": 1}))


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = types.SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now.seconds)
    return now


def slow(clock, items, seconds):
    for item in items:
        clock.seconds += seconds
        yield item


def test_nested_activities_are_counted_once(clock):
    stopwatch = Stopwatch("write")
    clock.seconds += 1
    decoded = stopwatch.iterate("decode", slow(clock, range(3), 8))
    for _ in stopwatch.iterate("transform", slow(clock, decoded, 16)):
        clock.seconds += 64
    clock.seconds += 2
    assert stopwatch.stop() == {"write": 1 + 3 * 64 + 2, "transform": 3 * 16, "decode": 3 * 8}


def test_an_error_passes_and_the_outer_activity_goes_on(clock):
    stopwatch = Stopwatch("write")

    def failing():
        clock.seconds += 4
        yield 1
        raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"):
        list(stopwatch.iterate("decode", failing()))
    clock.seconds += 2
    assert stopwatch.stop() == {"write": 2, "decode": 4}


ROOT = Path(__file__).parents[2]


def faults_of_blocks():
    """Page faults of a thread that allocates and frees three blocks of 4 MB 20 times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [np.ones(1 << 20, np.float32) for _ in range(3)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc")
def test_memory_of_one_block_serves_the_next():
    shards.prepare_worker()
    with ThreadPoolExecutor(1) as pool:
        # Three blocks are 3,000 pages; each time anew they would be 60,000.
        assert pool.submit(faults_of_blocks).result() < 10_000


def test_blas_takes_no_more_than_one_core():
    with threadpoolctl.threadpool_limits(None):
        _limits = shards.prepare_worker()
        blas = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
        assert {library["num_threads"] for library in blas} == {1}
