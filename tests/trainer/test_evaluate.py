import copy
import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from tfrecords.command_line import UserError
from tfrecords.manifest import FILE_NAME
from trainer import evaluate
from trainer.metrics import wilson_interval
from trainer.training_job import CHECKPOINT_FILE, TrainingJob


def by_hand(job_dir, data, parts):
    """Patch and track predictions, (true, given) pairs, straight from the model's outputs."""
    job = TrainingJob.load(job_dir)
    model = keras.models.load_model(job_dir / CHECKPOINT_FILE)
    patches, tracks = [], []
    for record in [record for part in parts for record in data.records[part]]:
        windows = [record.log_mel[start : start + 80] for start in range(0, len(record.log_mel) - 79, 80)]
        normalised = (np.array(windows, np.float64) - job.statistics.mean) / job.statistics.std
        outputs = model.predict_on_batch(normalised[..., np.newaxis].astype(np.float32))
        patches += [(record.label, int(given)) for given in outputs.argmax(axis=1)]
        tracks.append((record.label, int(outputs.mean(axis=0).argmax())))
    return patches, tracks


def accuracy(pairs):
    return sum(true == given for true, given in pairs) / len(pairs)


def run(*arguments):
    values = copy.deepcopy(evaluate.FLAGS)
    values.set_gnu_getopt(True)
    return evaluate.main(values, values(["evaluate", *map(str, arguments)])[1:])


@pytest.fixture(scope="module")
def scored(trained, tmp_path_factory):
    """The trained job scored as without flags: its own test part."""
    output_dir = tmp_path_factory.mktemp("scored")
    return output_dir, evaluate.evaluate(trained, output_dir)


def test_the_score_of_the_test_part_is_what_the_model_says(scored, trained, tiny):
    output_dir, _ = scored
    summary = json.loads((output_dir / "metrics.json").read_text())
    patches, tracks = by_hand(trained, tiny, ["test"])
    right = sum(true == given for true, given in tracks)
    assert (summary["patches"], summary["tracks"]) == (len(patches), len(tracks) == 6 and 6)
    assert summary["patch_accuracy"] == pytest.approx(accuracy(patches))
    assert summary["track_accuracy_mean"] == pytest.approx(accuracy(tracks))
    assert summary["track_accuracy_mean_interval"] == pytest.approx(wilson_interval(right, 6))
    confusion = [[tracks.count((true, given)) for given in range(3)] for true in range(3)]
    assert summary["confusion_matrix"] == confusion
    assert summary["chance"] == pytest.approx(1 / 3)
    assert summary["parts"] == ["test"]
    assert summary["seen_in_training"] is False
    assert (summary["model"], summary["seed"], summary["data_dir"]) == ("time", 0, str(tiny.path))


def test_what_is_returned_is_what_is_written(scored):
    output_dir, summary = scored
    assert json.loads(json.dumps(summary)) == json.loads((output_dir / "metrics.json").read_text())


def test_the_report_is_about_this_evaluation(scored, tiny):
    output_dir, summary = scored
    page = (output_dir / "report.html").read_text("utf-8")
    assert f"{100 * summary['track_accuracy_mean']:.1f} %" in page
    for words in ("time", str(tiny.path), "f" * 64, "80 frames, 1.86 s", "blues", "data:image/png"):
        assert words in page
    assert sorted(path.name for path in output_dir.iterdir()) == ["metrics.json", "report.html"]


@pytest.mark.parametrize(("parts", "seen"), [(["valid"], True), (["train", "test"], True)])
def test_parts_by_name_and_whether_training_saw_them(trained, tiny, tmp_path, parts, seen):
    summary = evaluate.evaluate(trained, tmp_path, parts=parts)
    names = tuple(parts)
    patches, tracks = by_hand(trained, tiny, names)
    assert summary["parts"] == names
    assert (summary["seen_in_training"], summary["tracks"]) == (seen, 6 * len(names))
    assert summary["patch_accuracy"] == pytest.approx(accuracy(patches))
    assert summary["track_accuracy_mean"] == pytest.approx(accuracy(tracks))
    assert ("no score for new music" in (tmp_path / "report.html").read_text("utf-8")) == seen


def test_another_dataset_is_normalised_as_training_was(trained, tmp_path, write_dataset):
    data = write_dataset(tmp_path / "other", seed=5, fingerprint="0" * 64, frames=(160, 250))
    summary = evaluate.evaluate(trained, tmp_path, data_dir=str(data.path), parts=["train"])
    patches, tracks = by_hand(trained, data, ["train"])
    assert summary["patch_accuracy"] == pytest.approx(accuracy(patches))
    assert summary["track_accuracy_mean"] == pytest.approx(accuracy(tracks))
    assert summary["seen_in_training"] is False
    assert summary["data_dir"] == str(data.path)


def test_the_same_dataset_elsewhere_is_still_the_same(trained, tiny, tmp_path):
    moved = shutil.copytree(tiny.path, tmp_path / "moved")
    assert evaluate.evaluate(trained, tmp_path, data_dir=str(moved))["parts"] == ("test",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fingerprint": "0" * 64}, "not the one that the model was trained on .* say which to score with --parts"),
        ({"labels": ("blues", "jazz", "pop")}, "has the labels blues, jazz, pop; the model knows blues, jazz, rock"),
        ({"labels": ("jazz", "blues", "rock")}, "has the labels jazz, blues, rock; the model knows"),
        ({"front_end": {"hop_length": 256}}, "made with hop_length 256, the model was trained with 512"),
        ({"mel_bands": 41}, "made with n_mels 41, the model was trained with 40"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(trained, tmp_path, write_dataset, options, message):
    data = write_dataset(tmp_path / "other", **options)
    output_dir = tmp_path / "output"
    output_dir.mkdir()
    parts = None if "fingerprint" in options else ["test"]
    with pytest.raises(UserError, match=message):
        evaluate.evaluate(trained, output_dir, data_dir=str(data.path), parts=parts)
    assert list(output_dir.iterdir()) == []


def test_the_dataset_of_training_is_gone_or_written_again(trained, tmp_path, tiny):
    moved = shutil.copytree(tiny.path, tmp_path / "moved")
    job_dir = shutil.copytree(trained, tmp_path / "job")
    dataclasses.replace(TrainingJob.load(trained), data_dir=str(moved)).save(job_dir)
    (moved / FILE_NAME).write_text(dataclasses.replace(tiny.manifest, fingerprint="1").to_json())
    with pytest.raises(UserError, match="or was written again since"):
        evaluate.evaluate(job_dir, tmp_path)
    shutil.rmtree(moved)
    with pytest.raises(UserError, match=f"^{moved}: no such directory"):
        evaluate.evaluate(job_dir, tmp_path)


def test_no_part_of_that_name(trained, tmp_path):
    with pytest.raises(UserError, match="no part 'fold_1'"):
        evaluate.evaluate(trained, tmp_path, parts=["fold_1"])


def test_a_job_without_a_model(trained, tmp_path):
    with pytest.raises(UserError, match="so no trained model"):
        evaluate.evaluate(tmp_path, tmp_path)
    job_dir = shutil.copytree(trained, tmp_path / "job")
    (job_dir / CHECKPOINT_FILE).write_bytes(b"PK damaged")
    with pytest.raises(UserError, match=r"best\.keras: cannot be loaded"):
        evaluate.evaluate(job_dir, tmp_path)
    (job_dir / CHECKPOINT_FILE).unlink()
    with pytest.raises(UserError, match="no model yet"):
        evaluate.evaluate(job_dir, tmp_path)


def test_the_command_writes_beside_the_job_and_prints_the_table(trained, tmp_path, capsys):
    job_dir = shutil.copytree(trained, tmp_path / "job")
    run(f"--job_dir={job_dir}", "--parts=valid")
    said = capsys.readouterr().out
    assert {"metrics.json", "report.html"} < {path.name for path in job_dir.iterdir()}
    assert said.splitlines()[0].split() == ["genre", "tracks", "accuracy", "precision", "recall", "F1"]
    assert "warning: these parts were trained or validated on" in said
    assert said.splitlines()[-1] == f"report: {job_dir}/report.html"


def test_mistakes_on_the_command_line(trained, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ([], "--job_dir=JOB is needed"),
        ([f"--job_dir={trained}", "more"], "unexpected argument 'more'"),
        ([f"--job_dir={trained}", f"--output_dir={tmp_path}/file/x"], "cannot be made: Not a directory"),
    ):
        with pytest.raises(UserError, match=message):
            run(*arguments)
