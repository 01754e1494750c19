import csv
import dataclasses
import json

import numpy as np
import pytest

from beam_preprocess.synthesize import synthesize_dataset
from tfrecords.command_line import UserError
from tools import ablation, ablation_rows, ablation_split
from tools.ablation_rows import BASE, Row
from trainer.cross_validation import trainings
from trainer.cross_validation.fold_run import Done
from trainer.scoring.metrics import Predictions
from trainer.scoring.saved_predictions import PREDICTIONS_FILE, FoldPredictions

NO_GAIN = Row("no_gain", ("--augment=",))


@pytest.fixture
def development(tiny, tmp_path):
    """The flag that lists the tracks that are scored."""
    path = tmp_path / "development.txt"
    path.write_text("".join(f"{record.track_id}\n" for record in tiny.records["test"]), "utf-8")
    return f"--development={path}"


def values_of(*arguments):
    ablation.FLAGS.unparse_flags()
    for name in ablation.FLAGS:
        ablation.FLAGS[name].unparse()
    ablation.FLAGS(["", *map(str, arguments)])
    return ablation.FLAGS


@pytest.fixture(autouse=True)
def two_rows(monkeypatch):
    """The tables are a base and a row."""
    monkeypatch.setattr(ablation_rows, "_BASE_FLAGS", ("--recipe=modern", "--augment=gain_db=3", "--batch_size=16"))
    monkeypatch.setitem(ablation_rows.TABLES, "ablation", (BASE, NO_GAIN))
    monkeypatch.setitem(ablation_rows.TABLES, "tuning", ())


@pytest.fixture
def trained(tiny, monkeypatch):
    """Predictions are made up where they would be trained for; gives the list of what was."""
    names = []
    labels = np.array([record.label for record in tiny.records["test"]], np.int32)
    track_ids = [record.track_id for record in tiny.records["test"]]
    probabilities = 0.4 * np.eye(3, dtype=np.float32)[labels] + np.float32(0.2)
    predictions = FoldPredictions(Predictions(probabilities, labels, track_ids, tiny.manifest.labels), 12, 2, 2)

    class Workers:
        def __init__(self, count, prepare, function):
            pass

        def __class_getitem__(cls, types):
            return cls

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            pass

        def do(self, tasks, ready):
            for task in tasks:
                names.append(str(task.run))
                went_on = (task.job_dir / "config.json").exists()
                task.job_dir.mkdir(parents=True, exist_ok=True)
                task.job.save(task.job_dir)
                (task.job_dir / "best.keras").write_bytes(b"")
                own = dataclasses.replace(predictions, core_seconds=None if went_on else 10.0)
                own.save(task.job_dir / PREDICTIONS_FILE)
                yield task, Done(accuracy=1.0, tracks=6, epochs=2, best_epoch=2, seconds=10.0)

    monkeypatch.setattr(trainings, "Workers", Workers)
    monkeypatch.setattr(ablation_split, "make_dataset", lambda audio, development, output: tiny.path)
    return names


def test_what_is_done_is_kept_and_seeds_are_added(tmp_path, capsys, trained, development):
    arguments = ("--audio=tracks.csv", f"--output={tmp_path}/out", development)
    ablation.main(values_of(*arguments, "--seeds=1"), [])
    assert trained == ["base, seed 0", "no_gain, seed 0"]
    said = capsys.readouterr().out
    assert "2 of 2 trainings to do" in said
    assert "1 of 2: base, seed 0: 100.0 % of 6 tracks, 2 epochs (best 2), 10 s; about 5 s left" in said
    ablation.main(values_of(*arguments, "--seeds=2"), [])
    assert trained[2:] == ["base, seed 1", "no_gain, seed 1"]
    assert "2 of 4 trainings to do" in capsys.readouterr().out
    ablation.main(values_of(*arguments, "--seeds=2"), [])
    assert len(trained) == 4
    said = capsys.readouterr().out
    assert "all 4 trainings are done" in said
    table = (tmp_path / "out" / "ablation.md").read_text("utf-8")
    assert table in said and "| no_gain |" in table
    found = json.loads((tmp_path / "out" / "ablation.json").read_text("utf-8"))
    assert [(row["name"], row["accuracy"], row["seconds"]) for row in found["rows"]] == [
        ("base", 1.0, 10.0),
        ("no_gain", 1.0, 10.0),
    ]


def test_a_training_that_goes_on_is_not_timed(tmp_path, tiny, trained, development):
    begun = tmp_path / "base" / "seed_0"
    begun.mkdir(parents=True)
    ablation_rows.make_job(BASE, tiny.path, 0, None).save(begun)
    ablation.main(values_of("--audio=tracks.csv", f"--output={tmp_path}", "--seeds=1", development), [])
    found = json.loads((tmp_path / "ablation.json").read_text("utf-8"))
    assert [row["seconds"] for row in found["rows"]] == [None, 10.0]


def test_another_training_in_the_directory_is_left_alone(tmp_path, trained, development):
    arguments = ("--audio=tracks.csv", f"--output={tmp_path}", "--seeds=1", "--rows=base", development)
    ablation.main(values_of(*arguments, "--epochs=3"), [])
    with pytest.raises(UserError, match="seed_0 holds a training that differs: epochs 3, not 4; delete it, or choose"):
        ablation.main(values_of(*arguments, "--epochs=4"), [])
    assert trained == ["base, seed 0"]


def test_a_development_track_too_short_for_a_row_is_told_before_training(
    tmp_path, tiny, trained, monkeypatch, development
):
    shortest = min(len(record.log_mel) for record in tiny.records["test"])
    row = Row("longer", (f"--patch_frames={shortest + 1}",))
    monkeypatch.setitem(ablation_rows.TABLES, "ablation", (BASE, row))
    with pytest.raises(UserError, match=rf"too short for the patches of {shortest + 1} frames of some rows; take it"):
        ablation.main(values_of("--audio=tracks.csv", f"--output={tmp_path}", development), [])
    assert trained == []


def test_a_development_track_without_a_record_is_told_before_training(tmp_path, trained, development):
    with (tmp_path / "development.txt").open("a", encoding="utf-8") as file:
        file.write("rejected.wav\n")
    with pytest.raises(UserError, match=r"^--development lists 'rejected.wav', which was rejected or is too short"):
        ablation.main(values_of("--audio=tracks.csv", f"--output={tmp_path}", development), [])
    assert trained == []


def test_artists_that_would_train_and_be_scored_are_told_before_training(
    tmp_path, tiny, trained, monkeypatch, write_dataset, development
):
    torn = write_dataset(tmp_path / "torn", split={"group_safe": False})
    monkeypatch.setattr(ablation_split, "make_dataset", lambda audio, development, output: torn.path)
    with pytest.raises(UserError, match=r"^.*/torn: artists are in more than one part"):
        ablation.main(values_of("--audio=tracks.csv", f"--output={tmp_path}", development), [])
    assert trained == []


def test_a_list_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match=r"^--development=none\.txt cannot be read: No such file"):
        ablation.main(values_of("--audio=tracks.csv", f"--output={tmp_path}", "--development=none.txt"), [])


@pytest.mark.parametrize("arguments", [["--audio=tracks.csv"], ["--output=out"]])
def test_both_audio_and_output_are_needed(arguments):
    with pytest.raises(UserError, match=r"--audio=tracks\.csv and --output=DIR are needed"):
        ablation.main(values_of(*arguments), [])


@pytest.mark.slow
def test_an_ablation_of_synthetic_music(tmp_path, capsys, monkeypatch):
    hearing = tuple(dataclasses.replace(row, model="time_frequency") for row in (BASE, NO_GAIN))
    monkeypatch.setitem(ablation_rows.TABLES, "ablation", hearing)
    paths = synthesize_dataset(tmp_path / "audio", tracks_per_genre=10, seconds=8, seed=0)
    paths = [path for path in paths if path.parent.name in ("classical", "disco", "jazz", "metal")]
    names = [str(path.relative_to(tmp_path / "audio")) for path in paths]
    numbers = [number for _ in range(4) for number in range(10)]
    with (tmp_path / "audio" / "tracks.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "genre", "artist"])
        for name, number in zip(names, numbers, strict=True):
            genre = name.partition("/")[0]
            rows.writerow([name, genre, f"{genre} {number // 2}"])
    development = [name for name, number in zip(names, numbers, strict=True) if number < 4]
    (tmp_path / "development.txt").write_text("".join(f"{name}\n" for name in development))
    arguments = (f"--audio={tmp_path}/audio/tracks.csv", f"--output={tmp_path}/out", "--seeds=2", "--epochs=15")
    ablation.main(values_of(*arguments, f"--development={tmp_path}/development.txt"), [])
    assert "test: 16 tracks\n4 of 4 trainings to do" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "ablation.json").read_text("utf-8"))
    assert (found["tracks"], found["seeds"]) == (16, [0, 1])
    for row in found["rows"]:
        assert row["accuracy"] > 0.6 and row["seconds"] > 0 and len(row["per_seed"]) == 2
        for seed in range(2):
            assert (tmp_path / "out" / row["name"] / f"seed_{seed}" / "best.keras").exists()
