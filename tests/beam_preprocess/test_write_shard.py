import dataclasses
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_preprocess import storage, write_shard
from beam_preprocess.audio import decode
from beam_preprocess.audio import front_end as front_end_module
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import list_tracks
from beam_preprocess.plan import make_plan
from beam_preprocess.write_shard import CONTENTS, REJECTS, ShardResult, WriteShard, kept_result, sidecar
from tfrecords import schema
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
    return ShardResult.from_json(Path(config.output, sidecar(plan.file)).read_text("utf-8"))


def records(config, plan):
    with Path(config.output, plan.file).open("rb") as file:
        return [schema.decode(data, mel_bands=40, dtype=config.dtype) for data in read_records(file, plan.file)]


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
    config = dataclasses.replace(config, dtype=dtype)
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
    full = write(dataclasses.replace(config, dtype="float32"), plan, labels, front_end)
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
    assert kept_result(config.output, plan) is None
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
        assert kept_result(config.output, plan) is None
        assert write(config, plan, labels, front_end).shard == first.shard
        assert path.stat().st_size == first.shard.bytes


def test_a_shard_of_another_plan_is_written_again(planned, front_end):
    config, plan, labels = planned
    write(config, plan, labels, front_end)
    assert kept_result(config.output, dataclasses.replace(plan, fingerprint="another")) is None


def test_a_shard_that_lacks_unreadable_files_is_written_again(tmp_path, make_clips, job_config, front_end):
    music = tmp_path / "music"
    paths = make_clips(music, labels=("jazz",))
    away = paths[0].rename(tmp_path / "away.wav")
    paths[0].symlink_to(tmp_path / "unmounted.wav")
    config, plan, labels = plan_one(music, job_config(music, tmp_path / "out"))
    assert [reject.reason for reject in write(config, plan, labels, front_end).rejects] == ["unreadable"]
    away.rename(tmp_path / "unmounted.wav")
    assert write(config, plan, labels, front_end).tracks == {"jazz": 4}


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
