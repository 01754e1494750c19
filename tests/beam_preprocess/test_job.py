import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow_datasets

from beam_preprocess import job, launch, write_shard
from beam_preprocess.audio import front_end
from beam_preprocess.audio.front_end import FrontEnd, FrontEndConfig
from beam_preprocess.config import SplitConfig
from beam_preprocess.job import claim_output
from beam_preprocess.launch import lock_output
from beam_preprocess.plan import ShardPlan, make_plan
from tfrecords import storage as room
from tfrecords.common.command_line import UserError
from tfrecords.common.files import lock_directory
from tfrecords.dataset import Dataset
from tfrecords.manifest import Manifest

ROOT = Path(__file__).parents[2]
ONE_WORKER = ("--direct_num_workers=1",)


@pytest.fixture(scope="module")
def unbroken(clips, job_config, tmp_path_factory):
    """The dataset of an undisturbed job. Read only."""
    output = tmp_path_factory.mktemp("unbroken") / "out"
    job.run(job_config(clips, output), beam_args=ONE_WORKER)
    return output


@pytest.fixture
def copy(unbroken, tmp_path):
    """A copy of that dataset that a test may damage."""
    output = tmp_path / "out"
    output.mkdir()
    for path in unbroken.iterdir():
        (output / path.name).write_bytes(path.read_bytes())
    return output


@pytest.fixture
def damaged(tmp_path, make_clips):
    """Twelve clips, three of which cannot be used."""
    paths = make_clips(tmp_path / "music")
    paths[0].write_bytes(b"")
    paths[5].write_text("text")
    os.truncate(paths[9], 10_000)
    return tmp_path / "music"


def files(output):
    return sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())


def shards(output):
    """Final path -> time of the last change of the shards that are written, in their place or before they get there."""
    waiting = {output / path.stem: path for path in (output / ".partial").glob(f"*.tfrecord-*.{'?' * 32}")}
    placed = {path: path for path in output.glob("*.tfrecord-*")}
    return {final: path.stat().st_mtime_ns for final, path in (waiting | placed).items()}


def test_what_is_written(unbroken):
    assert files(unbroken) == [
        "dataset_info.json",
        "features.json",
        "manifest.json",
        "metrics.json",
        *(f"music-fold_{fold}.tfrecord-0000{index}-of-00002" for fold in range(2) for index in range(2)),
        "rejects.jsonl",
    ]
    assert list(Dataset(unbroken).verify()) == []
    assert (unbroken / "rejects.jsonl").read_text() == ""


def test_tensorflow_datasets_opens_what_is_written(unbroken):
    builder = tensorflow_datasets.builder_from_directory(unbroken)
    manifest = Manifest.load(unbroken)
    assert (builder.name, builder.info.features["label"].names) == ("music", ["blues", "jazz", "rock"])
    assert list(builder.info.splits) == ["fold_0", "fold_1"]
    in_order = tensorflow_datasets.ReadConfig(interleave_cycle_length=1)
    for part in manifest.parts:
        found = list(builder.as_dataset(split=part, read_config=in_order).as_numpy_iterator())
        for one, record in zip(found, Dataset(unbroken, manifest).records(part), strict=True):
            assert (one["track_id"].decode(), one["group"].decode()) == (record.track_id, record.group)
            assert (one["label"], one["segment"], one["frames"]) == (record.label, record.segment, len(record.log_mel))
            np.testing.assert_array_equal(one["log_mel"], record.log_mel)


def test_the_manifest_does_not_tell_when_or_where(unbroken, clips):
    text = (unbroken / "manifest.json").read_text()
    assert str(unbroken) not in text
    assert str(clips) not in text
    assert Manifest.load(unbroken).split == {
        "method": "folds", "folds": 2, "seed": 0, "groups": 12, "grouped": False, "group_safe": True,
    }  # fmt: skip


def test_the_table_of_folds_and_labels_is_printed(clips, job_config, tmp_path, capfd):
    job.run(job_config(clips, tmp_path / "out"))
    printed = capfd.readouterr().err.splitlines()
    assert printed[0].endswith("12 tracks, 3 labels, 4 shards")
    assert [line.split() for line in printed[1:4]] == [
        ["part", "blues", "jazz", "rock"],
        ["fold_0", "2", "2", "2"],
        ["fold_1", "2", "2", "2"],
    ]
    assert printed[-1].startswith("wrote 12 tracks (0.01 hours) to ")
    assert printed[-1].endswith("0 rejected")
    assert {line.split()[0] for line in printed[5:-1]} == {"decode", "transform", "write"}


def test_a_second_run_has_nothing_to_do(copy, clips, job_config, capfd):
    before = shards(copy)
    result = job.run(job_config(clips, copy))
    assert "nothing to do" in capfd.readouterr().err
    assert result.to_json() == (copy / "manifest.json").read_text()
    assert shards(copy) == before
    assert ".partial" not in files(copy)


def test_another_dataset_is_not_overwritten_unless_told(copy, clips, job_config, contents):
    before = contents(copy)
    other = job_config(clips, copy, name="other", num_shards=2)
    with pytest.raises(UserError, match="already holds another dataset; choose another `output`, or `overwrite` it"):
        job.run(other)
    assert contents(copy) == before
    (copy / "notes.txt").write_text("mine")
    (copy / "music-fold_0.tfrecord-00000-of-00009").write_text("mine too")
    job.run(other, overwrite=True)
    assert files(copy) == [
        "dataset_info.json",
        "features.json",
        "manifest.json",
        "metrics.json",
        "music-fold_0.tfrecord-00000-of-00009",
        "notes.txt",
        "other-fold_0.tfrecord-00000-of-00001",
        "other-fold_1.tfrecord-00000-of-00001",
        "rejects.jsonl",
    ]


def test_the_same_dataset_can_be_written_again(copy, clips, job_config, contents):
    before, times_ns = contents(copy), shards(copy)
    job.run(job_config(clips, copy), overwrite=True)
    assert contents(copy) == before
    assert all(time_ns > times_ns[path] for path, time_ns in shards(copy).items())


def test_a_damaged_manifest_is_told_of_and_can_be_overwritten(copy, clips, job_config, contents):
    before = contents(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json: not a manifest"):
        job.run(job_config(clips, copy))
    job.run(job_config(clips, copy), overwrite=True)
    assert contents(copy) == before


def test_an_unfinished_dataset_of_another_job_is_not_overwritten_unless_told(damaged, job_config, tmp_path):
    with pytest.raises(UserError, match="cannot be used"):
        job.run(job_config(damaged, tmp_path / "out"), beam_args=ONE_WORKER)
    other = job_config(damaged, tmp_path / "out", name="other", max_reject_fraction=0.5)
    with pytest.raises(UserError, match="another, unfinished dataset; choose another `output`, or `overwrite` it"):
        job.run(other)
    job.run(other, overwrite=True)
    assert not list((tmp_path / "out").glob("music*"))
    assert not (tmp_path / "out" / ".partial").exists()


@pytest.mark.parametrize("beam_args", [ONE_WORKER, ("--direct_num_workers=2",)], ids=["one", "two"])
def test_too_many_rejects(damaged, job_config, tmp_path, beam_args, read_rejects, capfd):
    config = job_config(damaged, tmp_path / "out")
    with pytest.raises(UserError, match=r"^3 of 12 tracks cannot be used \(1 empty, 1 truncated, 1 undecodable\) and"):
        job.run(config, beam_args=beam_args)
    assert "by label: blues 1 of 4, jazz 1 of 4, rock 1 of 4" in capfd.readouterr().err
    with pytest.raises(UserError, match="an unfinished dataset"):
        Manifest.load(tmp_path / "out")
    assert [line["track_id"] for line in read_rejects(tmp_path / "out")] == [
        "blues/blues.00000.wav", "jazz/jazz.00001.wav", "rock/rock.00001.wav",
    ]  # fmt: skip
    kept = shards(tmp_path / "out")
    assert len(kept) == 4
    manifest = job.run(dataclasses.replace(config, max_reject_fraction=0.25), beam_args=beam_args)
    assert shards(tmp_path / "out") == kept
    assert manifest.rejects == {"empty": 1, "truncated": 1, "undecodable": 1}
    assert sum(manifest.tracks(["all"]).values()) == 9
    assert list(Dataset(tmp_path / "out", manifest).verify()) == []


def test_nothing_is_left(tmp_path, make_clips, job_config):
    for path in make_clips(tmp_path / "music"):
        path.write_text("text")
    with pytest.raises(UserError, match=r"12 of 12 tracks cannot be used \(12 undecodable\) and none is left"):
        job.run(job_config(tmp_path / "music", tmp_path / "out", max_reject_fraction=1.0))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_shard_without_one_usable_track(tmp_path, make_clips, job_config):
    paths = make_clips(tmp_path / "music")
    config = job_config(tmp_path / "music", tmp_path / "out", num_shards=12, max_reject_fraction=0.5)
    paths[3].write_bytes(b"")
    manifest = job.run(config)
    assert sorted(shard.records for part in manifest.parts.values() for shard in part.shards) == [0, *[1] * 11]
    assert list(Dataset(tmp_path / "out", manifest).verify()) == []


def test_statistics_are_those_of_the_audio_not_of_the_rounded_records(unbroken, clips):
    front_end = FrontEnd(FrontEndConfig())
    manifest = Manifest.load(unbroken)
    for part in manifest.parts:
        track_ids = [record.track_id for record in Dataset(unbroken, manifest).records(part)]
        waveforms = [soundfile.read(clips / track_id, dtype="float32")[0] for track_id in track_ids]
        values = np.concatenate([front_end(waveform) for waveform in waveforms]).astype(np.float64)
        found = manifest.statistics([part])
        assert found.count == len(values)
        np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-7)
        np.testing.assert_allclose(found.variance, values.var(axis=0), rtol=1e-7)


def test_one_label_only(tmp_path, make_clips, job_config):
    make_clips(tmp_path / "music", labels=("jazz",))
    with pytest.raises(UserError, match="only one label, 'jazz': nothing to tell apart"):
        job.run(job_config(tmp_path / "music", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_one_job_at_a_time_writes_to_an_output(copy, clips, job_config, contents, overwrite):
    before = contents(copy)
    with lock_directory(copy, "writing"), pytest.raises(UserError, match=f"^{copy}: another process is writing there$"):
        job.run(job_config(clips, copy, num_shards=2), overwrite=overwrite)
    assert contents(copy) == before


def test_the_output_is_claimed_until_all_is_written(clips, job_config, tmp_path, monkeypatch):
    def execute(*arguments):
        with pytest.raises(UserError, match="another process is writing"), lock_directory(tmp_path / "out", "writing"):
            pass
        real(*arguments)

    real = launch.Launch._execute
    monkeypatch.setattr(launch.Launch, "_execute", execute)
    job.run(job_config(clips, tmp_path / "out"), beam_args=ONE_WORKER)
    with lock_directory(tmp_path / "out", "writing"):
        pass


@pytest.mark.parametrize("output", ["file", "file/out"])
def test_an_output_that_cannot_be(tmp_path, clips, job_config, output):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=rf"^{tmp_path}/{output} cannot be used: .*[Nn]ot a directory"):
        job.run(job_config(clips, tmp_path / output))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_may_not_be_written(tmp_path, clips, job_config):
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(UserError, match=r"cannot be used: .*Permission denied"):
        job.run(job_config(clips, tmp_path / "locked" / "out"))


def test_sizes(clips, job_config, tmp_path):
    split = SplitConfig(train_size=0.5)
    manifest = job.run(job_config(clips, tmp_path / "out", split=split))
    assert {name: sum(part.tracks.values()) for name, part in manifest.parts.items()} == {
        "train": 6, "valid": 3, "test": 3,
    }  # fmt: skip
    assert manifest.split["method"] == "sizes"


def test_published_lists(clips, job_config, tmp_path, capfd):
    (tmp_path / "train.txt").write_text("blues/blues.00000.au\njazz/jazz.00000.wav\nrock/rock.00000.wav\n")
    (tmp_path / "test.txt").write_text("blues/blues.00001.wav\njazz/jazz.00001.wav\n")
    split = SplitConfig(split_lists=str(tmp_path))
    manifest = job.run(job_config(clips, tmp_path / "out", split=split))
    printed = capfd.readouterr().err
    assert "7 tracks are in none of the lists and are left out" in printed
    assert "warning: too few groups to have each label in each part: test lacks rock" in printed
    assert manifest.tracks(["test"]) == {"blues": 1, "jazz": 1, "rock": 0}
    assert manifest.tracks(["train"]) == {"blues": 1, "jazz": 1, "rock": 1}


def test_groups_of_a_csv_stay_whole_and_lists_that_tear_them_are_told_of(clips, job_config, tmp_path, capfd):
    tracks = [(label, index) for label in ("jazz", "rock") for index in range(4)]
    rows = [f"{clips}/{label}/{label}.0000{index}.wav,{label},artist {index}" for label, index in tracks]
    (tmp_path / "tracks.csv").write_text("\n".join(["path,genre,artist", *rows]))
    manifest = job.run(job_config(tmp_path / "tracks.csv", tmp_path / "out"))
    assert (manifest.split["groups"], manifest.split["grouped"], manifest.split["group_safe"]) == (4, True, True)
    assert list(Dataset(tmp_path / "out", manifest).verify()) == []
    for part, first, second in (("train", 0, 1), ("test", 2, 3)):
        names = [row.split(",")[0] for row in (rows[first], rows[second], rows[first + 4], rows[second + 4])]
        (tmp_path / f"{part}.txt").write_text("\n".join(names))
    safe = job_config(tmp_path / "tracks.csv", tmp_path / "safe", split=SplitConfig(split_lists=str(tmp_path)))
    assert job.run(safe).split["group_safe"]
    (tmp_path / "train.txt").write_text("\n".join(row.split(",")[0] for row in rows[:3] + rows[4:5]))
    (tmp_path / "test.txt").write_text("\n".join(row.split(",")[0] for row in rows[3:4] + rows[5:]))
    torn = job.run(dataclasses.replace(safe, output=str(tmp_path / "torn")))
    assert not torn.split["group_safe"]
    assert "warning: 2 groups are in more than one part (artist 1, artist 2)" in capfd.readouterr().err


def test_a_killed_job_goes_on_where_it_was(tmp_path, make_clips, job_config, contents, capfd):
    make_clips(tmp_path / "music")
    config = job_config(tmp_path / "music", tmp_path / "out", num_shards=12)
    # The real job, whose second shard takes for ever, so that the kill comes when the first is finished.
    program = (
        "import pathlib, pickle, sys, time\n"
        "from beam_preprocess import job, shards\n"
        "stream = shards.stream\n"
        "def one_shard(file, **limits):\n"
        f"    while list(pathlib.Path({str(tmp_path / 'out' / '.partial')!r}).glob('*.tfrecord-*-of-*.json')):\n"
        "        time.sleep(1)\n"
        "    return stream(file, **limits)\n"
        "shards.stream = one_shard\n"
        "job.run(pickle.load(sys.stdin.buffer), beam_args=['--direct_num_workers=1'])"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        process.stdin.write(pickle.dumps(config))
        process.stdin.close()
        deadline = time.monotonic() + 120
        while not list((tmp_path / "out" / ".partial").glob("*.tfrecord-*-of-*.json")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    finished = [path.name.removesuffix(".json") for path in (tmp_path / "out" / ".partial").glob("*-of-*.json")]
    kept = {path: time_ns for path, time_ns in shards(tmp_path / "out").items() if path.name in finished}
    assert 1 <= len(kept) < 12
    with pytest.raises(UserError, match="an unfinished dataset; run the command that began it again"):
        Manifest.load(tmp_path / "out")
    assert not [name for name in files(tmp_path / "out") if name.endswith(".tmp") and ".partial" not in name]
    # What a killed writer leaves behind.
    (tmp_path / "out" / ".partial" / "music-fold_0.tfrecord-00000-of-00006.0123.tmp").write_bytes(b"torn")

    job.run(config, beam_args=ONE_WORKER)
    assert f"an earlier run was interrupted: it finished {len(kept)} of 12 shards; those" in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    job.run(dataclasses.replace(config, output=str(tmp_path / "unbroken")), beam_args=ONE_WORKER)
    assert contents(tmp_path / "out") == contents(tmp_path / "unbroken")
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("out", "unbroken")]
    assert metrics[0]["tracks"] == metrics[1]["tracks"] == 12
    assert not (tmp_path / "out" / ".partial").exists()


def test_a_disk_that_is_full_ends_in_one_line(clips, job_config, tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write_shard.RecordWriter, "write", full)
    with pytest.raises(
        UserError, match=r"No space left on device.*run the command again, it keeps what is done"
    ) as info:
        job.run(job_config(clips, tmp_path / "out"), beam_args=ONE_WORKER)
    assert "\n" not in str(info.value)


def test_long_recordings_and_other_rates(tmp_path, job_config, monkeypatch):
    monkeypatch.setattr(front_end, "MAX_RECORD_FRAMES", 100)
    rng = np.random.default_rng(0)
    for label, rate, channels in (("jazz", 44100, 2), ("rock", 16000, 1)):
        (tmp_path / "music" / label).mkdir(parents=True)
        for index in range(2):
            soundfile.write(
                tmp_path / "music" / label / f"{index}.flac", 0.1 * rng.normal(size=(6 * rate, channels)), rate
            )
    manifest = job.run(job_config(tmp_path / "music", tmp_path / "out"))
    # 6 s are 259 frames: three records of at most 100.
    assert manifest.parts["fold_0"].record_frames == {86: 4, 87: 2}
    assert manifest.tracks(["all"]) == {"jazz": 2, "rock": 2}


def test_the_same_recording_twice_is_told_of_and_kept_in_the_manifest(tmp_path, make_clips, job_config, capfd):
    music = tmp_path / "music"
    first, *_ = make_clips(music, labels=("jazz", "rock"))
    (music / "rock" / "copy of it.wav").write_bytes(first.read_bytes())
    # Another container of the same samples is the same recording too.
    samples, rate = soundfile.read(first, dtype="int16")
    soundfile.write(music / "rock" / "again.flac", samples, rate)
    manifest = job.run(job_config(music, tmp_path / "out"))
    assert manifest.duplicates == ((f"jazz/{first.name}", "rock/again.flac", "rock/copy of it.wav"),)
    assert "1 recordings are there more than once" in capfd.readouterr().err


def test_metrics_say_where_the_time_went(unbroken):
    metrics = json.loads((unbroken / "metrics.json").read_text())
    assert {"decode", "transform", "write"} == set(metrics["work_s"])
    assert metrics["tracks"] == 12
    assert metrics["rejects"] == {}


@pytest.fixture
def plan_of(make_tracks, job_config):
    def make(output, num_shards):
        tracks = make_tracks([(f"{index}.wav", ("jazz", "rock")[index % 2]) for index in range(20)])
        return make_plan(job_config("/in", output, num_shards=num_shards), tracks, ["train"] * 20, {})

    return make


def test_a_line_for_each_shard(plan_of, tmp_path):
    plan = plan_of(tmp_path / "out", 4)
    assert claim_output(str(tmp_path / "out"), plan, overwrite=False) is None
    lines = (tmp_path / "out" / ".partial" / "plan.jsonl").read_bytes().splitlines()
    assert tuple(map(ShardPlan.from_json, lines)) == plan.shards
    job = json.loads((tmp_path / "out" / ".partial" / "job.json").read_text())
    files = [shard.file for shard in plan.shards]
    assert job == {"configuration": plan.configuration, "files": files, "kind": "dataset"}


def test_shards_of_an_earlier_plan_go_and_no_other_file(plan_of, tmp_path):
    output = tmp_path / "out"
    before, after = plan_of(output, 4), plan_of(output, 3)
    claim_output(str(output), before, overwrite=False)
    written = (before.shards[0].file, before.shards[2].file, "rejects.jsonl", "dataset_info.json", "features.json")
    for name in (*written, "notes.txt"):
        (output / name).write_text("x")
    claim_output(str(output), before, overwrite=False)
    assert names(output) == {before.shards[0].file, before.shards[2].file, "notes.txt"}
    claim_output(str(output), after, overwrite=False)
    assert names(output) == {"notes.txt"}


def test_overwriting_leaves_no_file_of_the_earlier_dataset(plan_of, tmp_path):
    output = tmp_path / "out"
    plan = plan_of(output, 4)
    claim_output(str(output), plan, overwrite=False)
    written = (plan.shards[0].file, "rejects.jsonl", "metrics.json", "dataset_info.json", "features.json")
    for name in (*written, "label.txt"):
        (output / name).write_text("x")
    claim_output(str(output), plan, overwrite=True)
    assert names(output) == {"label.txt"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_overwriting_that_was_interrupted_leaves_no_shard_behind(
    plan_of, tmp_path, write_dataset, monkeypatch, overwrite
):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    output = tmp_path / "out"
    shards = {path.name for path in write_dataset(output).shards("train", "valid", "test")}
    plan = plan_of(output, 4)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(launch, "_delete_files", interrupted)
        claim_output(str(output), plan, overwrite=True)
    assert names(output) == shards
    claim_output(str(output), plan, overwrite=overwrite)
    assert names(output) == set()


def test_a_manifest_that_is_no_text_is_damaged_and_can_be_overwritten(plan_of, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "manifest.json").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"manifest\.json: not a manifest \(not UTF-8 text\)"):
        claim_output(str(output), plan_of(output, 4), overwrite=False)
    claim_output(str(output), plan_of(output, 4), overwrite=True)
    assert names(output) == set()


def test_a_fault_of_ours_stays_a_traceback(plan_of, tmp_path, monkeypatch):
    plan = plan_of(tmp_path / "out", 4)
    monkeypatch.setattr(launch, "_delete_files", lambda *arguments: {}["name"])
    with pytest.raises(KeyError):
        claim_output(str(tmp_path / "out"), plan, overwrite=False)


def test_shards_that_a_damaged_manifest_does_not_name_are_known_by_their_names(plan_of, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    for name in ("manifest.json", "other-Train.tfrecord-00000-of-00001", "My Train.tfrecord-00000-of-00001"):
        (output / name).write_text("{")
    claim_output(str(output), plan_of(output, 4), overwrite=True)
    assert names(output) == {"My Train.tfrecord-00000-of-00001"}


def test_the_files_of_a_store_are_listed_once_and_not_asked_for(plan_of, memory, monkeypatch):
    before, after = plan_of("memory://bucket/out", 15), plan_of("memory://bucket/out", 16)
    claim_output("memory://bucket/out", before, overwrite=False)
    for shard in before.shards:
        memory.write(f"memory://bucket/out/{shard.file}", b"x")
    asked, listed = [], []
    size, list_files = room.size, launch.storage.list_files
    monkeypatch.setattr(room, "size", lambda uri: asked.append(uri) or size(uri))
    monkeypatch.setattr(launch.storage, "list_files", lambda uri: listed.append(uri) or list_files(uri))
    claim_output("memory://bucket/out", after, overwrite=False)
    assert [name for name in memory.names("memory://bucket/out/") if "tfrecord" in name] == []
    assert not [path for path in asked if "tfrecord" in path]
    assert listed == ["memory://bucket/out"]


def names(output):
    return {path.name for path in Path(output).iterdir() if path.is_file()}


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"configuration": "x", "files": 3}'])
def test_an_unfinished_job_of_another_shape_is_one_line(plan_of, tmp_path, text):
    output = tmp_path / "out"
    (output / ".partial").mkdir(parents=True)
    (output / ".partial" / "job.json").write_text(text)
    with pytest.raises(UserError, match=r"job\.json is damaged; `overwrite` starts over"):
        claim_output(str(output), plan_of(output, 4), overwrite=False)


def test_what_workers_have_half_written_goes_with_the_next_job_or_with_a_signal(tmp_path, end_by_signal):
    half = tmp_path / "out" / ".partial" / "shard.0123.tmp"
    half.parent.mkdir(parents=True)
    half.touch()
    with pytest.raises(SystemExit), lock_output(str(tmp_path / "out")):
        assert not half.exists()
        half.touch()
        end_by_signal()
    assert half.parent.is_dir() and not half.exists()
