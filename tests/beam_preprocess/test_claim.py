import json
from pathlib import Path

import pytest
from apache_beam.io.filesystems import FileSystems

from beam_preprocess import job
from beam_preprocess.job import claim_output, lock_output
from beam_preprocess.plan import ShardPlan, make_plan
from tfrecords.common.command_line import UserError


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
    assert job == {"configuration": plan.configuration, "files": [shard.file for shard in plan.shards]}


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
        patch.setattr(job, "_delete_files", interrupted)
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
    monkeypatch.setattr(job, "_delete_files", lambda *arguments: {}["name"])
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
    before, after = plan_of("mem://bucket/out", 15), plan_of("mem://bucket/out", 16)
    claim_output("mem://bucket/out", before, overwrite=False)
    for shard in before.shards:
        memory.write(f"mem://bucket/out/{shard.file}", b"x")
    asked, listed = [], []
    exists, list_files = FileSystems.exists, memory._list
    monkeypatch.setattr(FileSystems, "exists", lambda uri: asked.append(uri) or exists(uri))
    monkeypatch.setattr(memory, "_list", lambda self, prefix: listed.append(prefix) or list_files(self, prefix))
    claim_output("mem://bucket/out", after, overwrite=False)
    assert [name for name in memory.names("mem://bucket/out/") if "tfrecord" in name] == []
    assert not [path for path in asked if "tfrecord" in path]
    assert listed == ["mem://bucket/out/"]


def names(output):
    return {path.name for path in Path(output).iterdir() if path.is_file()}


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"configuration": "x", "files": 3}'])
def test_an_unfinished_job_of_another_shape_is_one_line(plan_of, tmp_path, text):
    output = tmp_path / "out"
    (output / ".partial").mkdir(parents=True)
    (output / ".partial" / "job.json").write_text(text)
    with pytest.raises(UserError, match=r"job\.json is damaged; --overwrite starts over"):
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
