import io
import json

import pytest

from beam_preprocess import shards
from beam_preprocess.audit import job
from beam_preprocess.audit.analysis import AnalyzedShard, AnalyzedTrack
from beam_preprocess.config import JobConfig, SplitConfig
from beam_preprocess.plan import make_plan
from beam_preprocess.progress import Progress
from beam_preprocess.shards import Rejected, ShardFile
from tfrecords.common.command_line import UserError
from tfrecords.common.files import lock_directory


def audit(source, output, *beam_args, **changes):
    fields = {"name": "music", "split": SplitConfig(folds=2)} | changes
    return job.run(JobConfig(source=str(source), output=str(output), **fields), beam_args=beam_args)


@pytest.fixture(scope="module")
def output(set_with_faults, tmp_path_factory):
    """The directory of an audit by two threads."""
    path = tmp_path_factory.mktemp("audited")
    audit(set_with_faults, path)
    return path


@pytest.fixture(scope="module")
def audited(output):
    return json.loads((output / "audit.json").read_text("utf-8"))


def ids(items):
    return [item["track_id"] for item in items]


def test_copies_are_found(audited):
    copy, same = audited["duplicates"]
    assert ids(copy["tracks"]) == ["blues/1.wav", "blues/copy.mp3"]
    (pair,) = copy["pairs"]
    assert not pair["identical"]
    assert pair["offset_s"] == pytest.approx(3, abs=0.1)
    assert pair["error_rate"] < 0.2
    assert ids(same["tracks"]) == ["rock/0.wav", "rock/same.flac"]
    assert same["pairs"][0]["identical"]
    assert audited["leaks"] == {"duplicates": 0, "groups": 0}


def test_what_is_wrong_with_single_tracks(audited):
    assert [(item["track_id"], item["reason"]) for item in audited["rejects"]] == [("rock/text.mp3", "undecodable")]
    assert audited["tracks"] == 14
    assert ids(audited["clipped"]) == ["rock/loud.wav"]
    assert [(item["track_id"], round(item["share"], 1)) for item in audited["silent"]] == [
        ("blues/zeros.wav", 1.0),
        ("blues/half.wav", 0.5),
    ]
    assert ids(audited["mono_in_stereo"]) == ["blues/mono.wav"]
    assert ids(audited["length_outliers"]) == ["rock/long.wav", "blues/copy.mp3"]


def test_pairs_are_drawn_and_nothing_else_is_left(output, audited):
    assert sorted(path.name for path in output.iterdir()) == ["audit.json", "pairs"]
    assert audited["pictures"] == {"pairs/0001.png": ["blues/1.wav", "blues/copy.mp3"]}
    assert (output / "pairs" / "0001.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_input_gives_the_same_bytes_with_one_worker_or_two(set_with_faults, output, tmp_path):
    audit(set_with_faults, tmp_path / "again", "--direct_num_workers=1")
    assert (tmp_path / "again" / "audit.json").read_bytes() == (output / "audit.json").read_bytes()


def test_an_audit_replaces_an_earlier_one(clips, tmp_path):
    output = tmp_path / "out"
    (output / "pairs").mkdir(parents=True)
    for name in ("0007.png", "mine.png"):
        (output / "pairs" / name).write_bytes(b"")
    (output / "audit.json").write_text("earlier")
    found = audit(clips, output)
    assert json.loads((output / "audit.json").read_text("utf-8")) == found
    assert [path.name for path in (output / "pairs").iterdir()] == ["mine.png"]


def test_a_failed_audit_leaves_no_audit(clips, tmp_path, monkeypatch):
    (tmp_path / "audit.json").write_text("earlier")
    monkeypatch.setattr(job.engine, "run_pipeline", lambda *args, **kwargs: None)
    with pytest.raises(UserError, match="0 of 12 tracks were listened to"):
        audit(clips, tmp_path)
    assert not (tmp_path / "audit.json").exists()


@pytest.mark.parametrize(
    ("name", "text", "held"),
    [
        ("manifest.json", "{}", "a dataset"),
        ("predictions.json", "{}", "a collection's predictions"),
        (".partial/job.json", '{"configuration": "", "files": []}', "an unfinished dataset"),
    ],
)
def test_what_another_job_made_is_left_alone(clips, tmp_path, name, text, held):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(UserError, match=f"holds {held}; choose another `output`"):
        audit(clips, tmp_path)
    assert path.read_text() == text


def test_an_audit_that_was_interrupted_keeps_its_shards(clips, tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    output = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(job, "_write_audit", interrupted)
        audit(clips, output)
    kept = {path: path.stat().st_mtime_ns for path in (output / ".partial").glob("*-of-*")}
    assert len(kept) == 4
    read = []
    with monkeypatch.context() as patch:
        patch.setattr(shards, "stream", lambda *args, **options: read.append(args))
        patch.setattr(job, "_write_audit", lambda *args: {"stamps": {path: path.stat().st_mtime_ns for path in kept}})
        assert audit(clips, output)["stamps"] == kept
    assert read == []
    # Of another configuration, nothing is kept.
    again = audit(clips, output, min_frames=90)
    assert again == audit(clips, tmp_path / "whole", min_frames=90)


def test_one_at_a_time_writes_to_an_output(clips, tmp_path):
    (tmp_path / "audit.json").write_text("of another one")
    with (
        lock_directory(tmp_path, "writing"),
        pytest.raises(UserError, match=f"^{tmp_path}: another process is writing there"),
    ):
        audit(clips, tmp_path)
    assert (tmp_path / "audit.json").read_text() == "of another one"


def test_analyzed_batches_count_as_progress(tmp_path, make_tracks):
    (tmp_path / ".partial").mkdir()
    tracks = make_tracks([(f"{index}.wav", "rock") for index in range(10)])
    plan = make_plan(JobConfig("in", "out", "music", num_shards=2), tracks, ["a"] * 10, {})
    with Progress.of(str(tmp_path), plan, io.StringIO(), result_type=AnalyzedShard) as shown:
        usable = AnalyzedTrack(
            *(8000, 4000, False, False),
            duration_s=30.0,
            channels=1,
            clipped_share=0.0,
            silent_share=0.0,
            same_channels=False,
            content="x",
        )
        reject = Rejected("4.wav", "/in/4.wav", "empty", "no samples")
        file = plan.shards[1].file
        result = AnalyzedShard("f", ShardFile(file, 5, 1, "0" * 64), (usable, usable, usable, usable, reject))
        (tmp_path / shards.sidecar(file)).write_text(result.to_json())
        shown._look()
        assert shown.line().startswith("5 of 10 tracks, 1 rejected")
