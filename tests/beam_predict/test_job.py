import contextlib
import dataclasses
import json
import pickle
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from beam_predict import write_predictions
from beam_predict.config import PredictConfig
from beam_predict.predictions import Predictions, WriteSummary
from beam_preprocess import shards
from tfrecords.common.command_line import UserError
from tfrecords.common.files import lock_directory
from trainer.serving.recognizer import Recognizer

ROOT = Path(__file__).parents[2]
LABELS = ("blues", "jazz", "rock")


def test_what_is_written(named):
    assert sorted(path.name for path in named.iterdir()) == [
        "metrics.json",
        *(f"predictions-0000{index}-of-00004.parquet" for index in range(4)),
        "predictions.json",
        "rejects.jsonl",
        "report.html",
    ]


def test_a_row_for_each_track_in_the_order_of_their_names(named, collection, read_rows):
    tracks = [row["track"] for row in read_rows(named)]
    assert tracks == sorted(str(path.relative_to(collection)) for path in collection.rglob("*") if path.is_file())
    assert "stereo é.flac" in tracks
    names = pq.read_table(named / "predictions-00000-of-00004.parquet").column_names
    assert names == [
        *("track", "label", "probability", "p_blues", "p_jazz", "p_rock", "entropy"),
        *("confidence", "set", "sure", "familiar", "duration_s", "note"),
        *("reject_reason", "reject_detail", "embedding"),
    ]


def test_genres_are_those_of_predict(named, collection, trained, read_rows):
    recognizer = Recognizer.load(trained)
    units = keras.Model(recognizer.model.inputs, recognizer.model.layers[-1].input)
    seen = 0
    for row in read_rows(named):
        if row["label"] is None:
            continue
        with (collection / row["track"]).open("rb") as file:
            expected = recognizer.recognize(file)
        own = [row[f"p_{label}"] for label in LABELS]
        np.testing.assert_allclose(own, expected.probabilities, atol=1e-5)
        assert row["label"] == LABELS[int(np.argmax(own))]
        assert row["probability"] == max(own)
        assert row["entropy"] == pytest.approx(-sum(p * np.log2(p) for p in own if p), abs=1e-5)
        assert row["duration_s"] == pytest.approx(expected.duration_s, abs=1e-3)
        assert row["confidence"] == pytest.approx(expected.answer.probabilities.max(), abs=1e-4)
        assert row["set"] == list(expected.label_set)
        assert (row["sure"], row["familiar"]) == (expected.answer.sure, expected.answer.familiar)
        starts = np.arange(0, len(expected.log_mel) - 79, 80)
        patches = np.stack([expected.log_mel[first : first + 80] for first in starts])
        patches = (patches - recognizer._mean) * recognizer._scale
        np.testing.assert_allclose(
            row["embedding"], np.asarray(units(patches[..., np.newaxis])).mean(axis=0), atol=1e-4
        )
        seen += 1
    assert seen == 13


def test_what_cannot_be_named_says_why(named, read_rows, read_rejects):
    rows = {row["track"]: row for row in read_rows(named) if row["label"] is None}
    assert {track: row["reject_reason"] for track, row in rows.items()} == {
        "empty.wav": "empty",
        "short.wav": "too_short",
        "silent.wav": None,
        "text.mp3": "undecodable",
    }
    assert rows["silent.wav"]["note"] == "silent"
    assert rows["silent.wav"]["duration_s"] == 3
    for row in rows.values():
        assert {row[name] for name in ("probability", "p_rock", "entropy", "sure", "set", "embedding")} == {None}
        assert bool(row["reject_detail"]) == bool(row["reject_reason"])
    assert [reject["track_id"] for reject in read_rejects(named)] == ["empty.wav", "short.wav", "text.mp3"]


def test_the_summary_counts_the_rows(named, read_rows, collection):
    found = Predictions.load(str(named))
    rows = read_rows(named)
    assert found.labels == LABELS
    assert found.named == {label: number for label in LABELS if (number := [r["label"] for r in rows].count(label))}
    assert sum(found.named.values()) == 13
    assert (found.tracks, found.notes) == (14, {"silent": 1})
    assert found.rejects == {"empty": 1, "too_short": 1, "undecodable": 1}
    assert {label: sum(counts) for label, counts in found.confidence.items()} == found.named
    for label, mean in found.mean_probability.items():
        assert mean == pytest.approx(np.mean([row["probability"] for row in rows if row["label"] == label]), abs=1e-5)
    assert str(collection) not in (named / "predictions.json").read_text("utf-8")


def test_the_page_shows_it(named, parse_page):
    page = parse_page((named / "report.html").read_text("utf-8"))
    assert "Genres of a collection" in page.text
    assert "undecodable" in page.text
    assert len(page.all("img")) == 2


def test_the_number_of_workers_changes_no_byte(named, collection, trained, predict, contents, tmp_path):
    predict(collection, tmp_path / "out", trained, embedding=True, beam_args=["--direct_num_workers=2"])
    assert contents(tmp_path / "out") == contents(named)


@pytest.mark.slow
def test_workers_that_are_processes_change_no_byte(collection, trained, contents, tmp_path):
    # By commands: how this process has imported TensorFlow decides which kernels it uses.
    threads, processes = (
        named_by_command(collection, tmp_path / mode, trained, f"--direct_running_mode={mode}")
        for mode in ("multi_threading", "multi_processing")
    )
    assert contents(processes) == contents(threads)


def named_by_command(collection, output, model_dir, *beam_args):
    """Name a collection with two workers by the command line, with embeddings; return the output."""
    where = (f"--input={collection}", f"--output={output}", f"--model_dir={model_dir}")
    options = ("--embedding", "--num_shards=4", "--direct_num_workers=2", *beam_args)
    subprocess.run([sys.executable, "-m", "beam_predict", *where, *options], cwd=ROOT, check=True)
    return output


def test_an_export_names_as_its_job(named, collection, exported, predict, read_rows, tmp_path):
    predict(collection, tmp_path / "out", exported, num_shards=1)
    for one, other in zip(read_rows(tmp_path / "out"), read_rows(named), strict=True):
        assert "embedding" not in one
        assert (one["track"], one["label"], one["reject_reason"]) == (
            other["track"],
            other["label"],
            other["reject_reason"],
        )
        if one["label"]:
            np.testing.assert_allclose(one["p_rock"], other["p_rock"], atol=1e-6)


def test_a_list_needs_no_labels(clips, trained, predict, read_rows, tmp_path):
    paths = sorted(clips.rglob("*.wav"))[:3]
    (tmp_path / "tracks.csv").write_text("\n".join(["path", *map(str, paths), "gone.wav"]))
    found = predict(tmp_path / "tracks.csv", tmp_path / "out", trained, num_shards=None)
    assert (found.tracks, found.rejects) == (3, {"unreadable": 1})
    assert [row["track"] for row in read_rows(tmp_path / "out")] == sorted([*map(str, paths), "gone.wav"])


def test_of_one_folder(clips, trained, predict, tmp_path):
    assert predict(clips / "jazz", tmp_path / "out", trained).tracks == 4


def test_a_second_run_has_nothing_to_do(clips, trained, exported, predict, tmp_path, capfd, contents):
    output = tmp_path / "out"
    first = predict(clips, output, trained)
    before = contents(output)
    assert predict(clips, output, trained) == first
    assert "nothing to do" in capfd.readouterr().err
    # Of another model, they would be others.
    with pytest.raises(UserError, match="already holds another collection's predictions; choose another `output`"):
        predict(clips, output, exported)
    assert contents(output) == before
    second = predict(clips, output, exported, overwrite=True, num_shards=2)
    assert second.model_fingerprint != first.model_fingerprint
    assert sorted(path.name for path in output.glob("*.parquet")) == [
        "predictions-00000-of-00002.parquet",
        "predictions-00001-of-00002.parquet",
    ]


def test_what_another_job_made_is_left_alone(clips, trained, predict, tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="holds a dataset; choose another `output`"):
        predict(clips, tmp_path, trained, overwrite=True)
    assert (tmp_path / "manifest.json").read_text() == "{}"


def test_one_job_at_a_time_writes_to_an_output(clips, trained, predict, tmp_path):
    with lock_directory(tmp_path, "writing"), pytest.raises(UserError, match="another process is writing there"):
        predict(clips, tmp_path, trained)


def test_a_collection_without_one_readable_file(trained, predict, tmp_path, read_rejects):
    (tmp_path / "music").mkdir()
    for name in ("a.wav", "b.mp3"):
        (tmp_path / "music" / name).write_text("no audio")
    with pytest.raises(UserError, match=r"2 of 2 tracks cannot be used \(2 undecodable\) and none is left") as info:
        predict(tmp_path / "music", tmp_path / "out", trained)
    assert "\n" not in str(info.value)
    assert not (tmp_path / "out" / "predictions.json").exists()
    assert len(read_rejects(tmp_path / "out")) == 2


def test_more_rejects_than_allowed(collection, trained, predict, tmp_path):
    with pytest.raises(UserError, match=r"3 of 17 tracks cannot be used .* max_reject_fraction is 0\.1"):
        predict(collection, tmp_path / "out", trained, max_reject_fraction=0.1)


def test_shards_of_a_job_that_failed_at_its_end_are_kept_and_no_model_is_loaded(
    named, collection, trained, predict, tmp_path, monkeypatch, contents
):
    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space left on device; correct this"):
        patch.setattr(WriteSummary, "write", fail)
        predict(collection, tmp_path / "out", trained, embedding=True)
    assert not (tmp_path / "out" / "predictions.json").exists()
    monkeypatch.setattr(write_predictions, "load_network", fail)
    monkeypatch.setattr(shards, "stream", fail)
    predict(collection, tmp_path / "out", trained, embedding=True)
    assert contents(tmp_path / "out") == contents(named)


@contextlib.contextmanager
def process_of(*configs, before=""):
    """A process that runs jobs, one after the other; it is killed at the end of the block."""
    program = (
        "import pathlib, pickle, sys, time\n"
        "from beam_predict import job\n"
        "from beam_preprocess import shards\n"
        f"{before}"
        "for config in pickle.load(sys.stdin.buffer):\n"
        "    job.run(config, beam_args=['--direct_num_workers=1'])"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            process.stdin.write(pickle.dumps(configs))
            process.stdin.close()
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_killed_job_goes_on_where_it_was(tmp_path, clips, trained, contents):
    config = PredictConfig(str(clips), str(tmp_path / "out"), str(trained), num_shards=6)
    partial = tmp_path / "out" / ".partial"
    # The second shard takes for ever, so that the kill comes when the first is finished.
    blocked = (
        "stream = shards.stream\n"
        "def one_shard(file, **limits):\n"
        f"    while list(pathlib.Path({str(partial)!r}).glob('*.parquet.json')):\n"
        "        time.sleep(1)\n"
        "    return stream(file, **limits)\n"
        "shards.stream = one_shard\n"
    )
    with process_of(config, before=blocked) as process:
        deadline = time.monotonic() + 300
        while not list(partial.glob("*.parquet.json")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    (finished,) = (path for path in partial.glob("*.parquet.*") if path.suffix not in (".json", ".tmp"))
    stamp = finished.stat().st_mtime_ns
    assert not list((tmp_path / "out").glob("*.parquet"))

    with process_of(config, dataclasses.replace(config, output=str(tmp_path / "unbroken"))) as process:
        assert b"an earlier run was interrupted: it finished 1 of 6 shards" in process.stderr.read()
        assert process.wait() == 0
    assert (tmp_path / "out" / finished.stem).stat().st_mtime_ns == stamp
    assert contents(tmp_path / "out") == contents(tmp_path / "unbroken")


def test_in_a_store(memory, clips, trained, predict, contents, tmp_path):
    for path in clips.rglob("*.wav"):
        memory.write(f"memory://bucket/music/{path.relative_to(clips)}", path.read_bytes())
    predict("memory://bucket/music", "memory://bucket/out", trained)
    predict(clips, tmp_path / "out", trained)
    for name, data in contents(tmp_path / "out").items():
        assert memory.read(f"memory://bucket/out/{name}") == data


def test_a_model_that_a_worker_cannot_load_is_one_line(clips, trained, predict, tmp_path, monkeypatch):
    def load(facts, *, embedding):
        raise UserError(f"{facts.location}/best.keras: cannot be loaded")

    monkeypatch.setattr(write_predictions, "load_network", load)
    message = rf"^`model_dir={trained}` cannot be used: {trained}/best\.keras: cannot be loaded; correct this"
    with pytest.raises(UserError, match=message) as info:
        predict(clips, tmp_path / "out", trained)
    assert "\n" not in str(info.value)


def test_a_recording_longer_than_a_batch(trained, predict, tmp_path, read_rows, monkeypatch):
    monkeypatch.setattr(write_predictions, "BATCH", 3)
    (tmp_path / "music").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 14 * 22050)
    for index, seconds in enumerate((14, 3, 2)):
        soundfile.write(tmp_path / "music" / f"{index}.wav", noise[: seconds * 22050], 22050)
    predict(tmp_path / "music", tmp_path / "small", trained, num_shards=1)
    monkeypatch.undo()
    predict(tmp_path / "music", tmp_path / "large", trained, num_shards=1)
    for one, other in zip(read_rows(tmp_path / "small"), read_rows(tmp_path / "large"), strict=True):
        np.testing.assert_allclose(one["p_rock"], other["p_rock"], atol=1e-5)


def test_metrics_say_where_the_time_went(named):
    metrics = json.loads((named / "metrics.json").read_text())
    assert {"decode", "transform", "model", "write"} == set(metrics["work_s"])
    assert (metrics["tracks"], metrics["shards"]) == (14, 4)
