import dataclasses
import json
import os
from collections import Counter
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from beam_preprocess import finish
from beam_preprocess.finish import check_rejects
from beam_preprocess.label_sound import LabelSound
from beam_preprocess.plan import make_plan, versions
from beam_preprocess.shards import Rejected, attempt_file
from beam_preprocess.write_manifest import DatasetSpec, WriteManifest
from beam_preprocess.write_shard import ShardResult
from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics, Manifest, Shard


@pytest.fixture
def dataset(tmp_path, make_tracks, job_config):
    tracks = make_tracks([(f"{label}/{index}.wav", label) for label in ("jazz", "rock") for index in range(10)])
    (tmp_path / "out" / ".partial").mkdir(parents=True)
    config = job_config("/in", tmp_path / "out")
    write_attempts(config.output)
    plan = make_plan(config, tracks, ["fold_0", "fold_1"] * 10, {"method": "folds", "group_safe": True})
    return DatasetSpec.from_plan(config, plan)


def write_attempts(output):
    for each in RESULTS:
        Path(attempt_file(str(output), each.shard)).write_bytes(b"")


def values(seed):
    return np.random.default_rng(seed).normal(size=(10, 40))


def result(index, part, tracks):
    return ShardResult(
        part=part,
        fingerprint="f",
        shard=Shard(f"music-{part}.tfrecord-0000{index}-of-00002", 5, 10, 1000 + index, "0" * 64),
        tracks=tracks,
        record_frames={2: 5},
        statistics=BandStatistics.of(values(index)),
        rejects=(),
        audio_s=1.25,
        contents={},
        sound={"rock": LabelSound(Counter({22050: 1}), Counter({9000: 1}), index, 0)} if part == "fold_0" else {},
        work_s={"decode": 0.5, "write": 0.25},
    )


RESULTS = [
    result(0, "fold_0", {"rock": 3, "jazz": 2}),
    result(1, "fold_0", {"rock": 5}),
    result(0, "fold_1", {"jazz": 5}),
    result(1, "fold_1", {"jazz": 3}),
]
REJECTS = [
    Rejected("caf\udce9.wav", "/in/caf\udce9.wav", "empty", "detail"),
    Rejected("a.wav", "/in/a.wav", "truncated", "detail"),
]
DUPLICATES = [(b"p.wav", b"q.wav"), (b"d.wav", b"caf\xe9.wav")]


def test_the_manifest_sums_the_shards_of_each_part(dataset):
    (path,) = WriteManifest(dataset).process(RESULTS, REJECTS, DUPLICATES)
    manifest = Manifest.from_json(Path(os.fsdecode(path)).read_text("utf-8"), "here")
    assert manifest.tracks(["all"]) == {"jazz": 10, "rock": 8}
    assert manifest.parts["fold_1"].tracks == {"jazz": 8, "rock": 0}
    assert manifest.parts["fold_0"].record_frames == {2: 10}
    assert [shard.bytes for shard in manifest.parts["fold_0"].shards] == [1000, 1001]
    assert manifest.rejects == {"empty": 1, "truncated": 1}
    both = np.concatenate([values(0), values(1)])
    np.testing.assert_allclose(manifest.parts["fold_0"].statistics.mean, both.mean(axis=0))
    np.testing.assert_allclose(manifest.parts["fold_0"].statistics.variance, both.var(axis=0))
    assert manifest.front_end["n_mels"] == 40
    assert manifest.split == {"method": "folds", "group_safe": True}
    assert manifest.fingerprint == dataset.fingerprint
    assert manifest.duplicates == (("d.wav", "caf\udce9.wav"), ("p.wav", "q.wav"))


def test_the_order_in_which_shards_finish_does_not_matter(dataset, contents, tmp_path):
    written = []
    for order, step in ((RESULTS, 1), (RESULTS[::-1], -1), (RESULTS[2:] + RESULTS[:2], -1)):
        (tmp_path / "out" / ".partial").mkdir(exist_ok=True)
        write_attempts(tmp_path / "out")
        WriteManifest(dataset).process(order, REJECTS[::step], DUPLICATES[::step])
        written.append(contents(tmp_path / "out"))
    assert written[0] == written[1] == written[2]
    files = {"dataset_info.json", "features.json", "manifest.json", "rejects.jsonl"}
    assert set(written[0]) == files | {each.shard.file for each in RESULTS}


def test_rejects_are_lines_sorted_by_track(dataset, tmp_path, read_rejects):
    WriteManifest(dataset).process(RESULTS, REJECTS, [])
    assert read_rejects(tmp_path / "out") == [
        {"track_id": "a.wav", "uri": "/in/a.wav", "reason": "truncated", "detail": "detail"},
        {"track_id": "caf\udce9.wav", "uri": "/in/caf\udce9.wav", "reason": "empty", "detail": "detail"},
    ]


@pytest.mark.parametrize("rejects", [REJECTS[:1], [*REJECTS, *REJECTS]])
def test_an_engine_that_loses_or_doubles_elements_makes_no_dataset(dataset, tmp_path, rejects):
    with pytest.raises(UserError, match="20 tracks went in"):
        WriteManifest(dataset).process(RESULTS, rejects, [])
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_metrics(dataset, tmp_path):
    WriteManifest(dataset).process(RESULTS, REJECTS, [])
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found == {
        "input": "/in",
        "tracks": 18,
        "rejects": {"empty": 1, "truncated": 1},
        "audio_s": 5.0,
        "bytes": 4002,
        "shards": 4,
        "sound": {
            "rock": {
                "sample_rates": {"22050": 2},
                "bandwidths_hz": {"9000": 2},
                "cancelled": 1,
                "far_beyond_full_scale": 0,
            }
        },
        "work_s": {"decode": 2.0, "write": 1.0},
    }


def test_what_an_unfinished_job_needs_goes_last(dataset, tmp_path):
    (tmp_path / "out" / ".partial" / "job.json").write_text("{}")
    WriteManifest(dataset).process(RESULTS, REJECTS, [])
    assert not (tmp_path / "out" / ".partial").exists()


def test_what_cannot_be_cleared_away_does_not_undo_the_dataset(dataset, tmp_path, monkeypatch):
    def busy(uris):
        raise OSError("not empty")

    monkeypatch.setattr(finish.storage, "delete_tree", busy)
    WriteManifest(dataset).process(RESULTS, REJECTS, [])
    assert (tmp_path / "out" / "manifest.json").exists()


def test_a_shard_less_than_planned_makes_no_dataset(dataset, tmp_path):
    with pytest.raises(UserError, match="out: only 3 of 4 planned shards were written; every worker has to reach"):
        WriteManifest(dataset).process(RESULTS[1:], [], [])
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_an_engine_may_repeat_the_end(dataset, tmp_path, contents):
    (path,) = WriteManifest(dataset).process(RESULTS, REJECTS, DUPLICATES)
    before = contents(tmp_path / "out")
    assert WriteManifest(dataset).process([], [], []) == [path]
    assert contents(tmp_path / "out") == before


def test_another_dataset_is_not_taken_for_a_repeated_end(dataset):
    WriteManifest(dataset).process(RESULTS, REJECTS, DUPLICATES)
    with pytest.raises(UserError, match="0 of 4 planned shards"):
        WriteManifest(dataclasses.replace(dataset, fingerprint="other")).process([], [], [])


def test_too_many_rejects_leave_no_manifest_but_their_names(dataset, tmp_path, read_rejects):
    more = Rejected("b.wav", "/in/b.wav", "empty", "detail")
    results = [*RESULTS[:3], result(1, "fold_1", {"jazz": 2})]
    with pytest.raises(UserError, match="3 of 20 tracks cannot be used"):
        WriteManifest(dataset).process(results, [*REJECTS, more], [])
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert (tmp_path / "out" / ".partial").exists()
    assert len(read_rejects(tmp_path / "out")) == 3


@pytest.mark.parametrize(("rejects", "total", "allowed"), [(0, 10, 0.0), (1, 10, 0.1), (9, 10, 1.0), (3, 10, 0.3)])
def test_as_many_rejects_as_allowed(job_config, rejects, total, allowed):
    check_rejects(job_config("in", "out", max_reject_fraction=allowed), Counter(empty=rejects), total)


@pytest.mark.parametrize(
    ("reasons", "total", "allowed", "message"),
    [
        ({"empty": 1}, 10, 0.0, "1 of 10 tracks cannot be used (1 empty) and max_reject_fraction is 0;"),
        ({"too_short": 1, "empty": 1}, 10, 0.19, "(1 empty, 1 too_short) and max_reject_fraction is 0.19;"),
        ({"empty": 10}, 10, 1.0, "10 of 10 tracks cannot be used (10 empty) and none is left;"),
    ],
)
def test_too_many_rejects(job_config, reasons, total, allowed, message):
    with pytest.raises(UserError) as caught:
        check_rejects(job_config("in", "out", max_reject_fraction=allowed), Counter(reasons), total)
    assert message in str(caught.value)
    assert str(caught.value).endswith("out/rejects.jsonl names each")


def test_versions_are_those_installed():
    found = versions()
    assert found["numpy"] == np.__version__
    assert found["librosa"] == metadata.version("librosa")
    assert found["libsndfile"].count(".") >= 1
