import copy
import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from tfrecords.augmentation import Augmentation
from tfrecords.common.command_line import UserError
from tfrecords.manifest import FILE_NAME
from trainer import evaluate, training_job
from trainer.evaluation import intervals
from trainer.training_job import (
    CHECKPOINT_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    REPORT_FILE,
    Parents,
    PartChoice,
    TrainingJob,
)

pytestmark = pytest.mark.usefixtures("no_pictures")


def by_hand(job_dir, data, parts):
    """Patch and track predictions, (true, given) pairs, straight from the model's outputs."""
    job = TrainingJob.load(job_dir)
    model = keras.models.load_model(job_dir / CHECKPOINT_FILE)
    patches, tracks = [], []
    for record in [record for part in parts for record in data.records[part]]:
        windows = [record.log_mel[start : start + 80] for start in range(0, len(record.log_mel) - 79, 80)]
        normalised = (np.array(windows, np.float64) - job.statistics.mean) / job.statistics.scale
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


def evaluated(*arguments, **options):
    """What metrics.json holds."""
    return evaluate.evaluate(*arguments, **options).to_json()


def test_the_score_of_the_test_part_is_what_the_model_says(scored, trained, tiny):
    output_dir, _ = scored
    summary = json.loads((output_dir / "metrics.json").read_text())
    patches, tracks = by_hand(trained, tiny, ["test"])
    assert (summary["patches"], summary["tracks"]) == (len(patches), len(tracks) == 6 and 6)
    assert summary["patch_accuracy"] == pytest.approx(accuracy(patches))
    assert summary["track_accuracy_mean"] == pytest.approx(accuracy(tracks))
    # Every track of the tiny dataset is by an artist of its own.
    of_tracks = intervals.wilson_interval(6 * accuracy(tracks), 6)
    assert summary["track_accuracy_mean_interval"] == pytest.approx(of_tracks)
    assert (summary["interval_method"], summary["num_groups"]) == ("Wilson over groups", 6)
    confusion = [[tracks.count((true, given)) for given in range(3)] for true in range(3)]
    assert summary["confusion_matrix"] == confusion
    assert summary["chance"] == pytest.approx(1 / 3)
    assert summary["parts"] == ["test"]
    assert summary["seen_in_training"] is False
    assert summary["tracks_without_patch"] == 0
    assert (summary["model"], summary["seed"], summary["data_dir"]) == ("time", 0, str(tiny.path))


def test_how_honest_the_answers_are_is_measured(scored, trained, tmp_path):
    output_dir, summary = scored
    found = json.loads((output_dir / "metrics.json").read_text())["calibration"]
    assert found["raw"]["accuracy"] == found["scaled"]["accuracy"] == summary.scores.track_accuracy_mean
    # Of six artists in validation nothing can be promised.
    assert (found["sets"]["covered"], found["sets"]["labels"]) == (1, 3)
    assert 0 <= found["unfamiliar"] <= found["refused"] <= 1
    assert "<h2>Confidence</h2>" in (output_dir / "report.html").read_text()
    # A job of an earlier version has but its probabilities.
    job_dir = shutil.copytree(trained, tmp_path / "job")
    for name in ("confidence.json", "familiarity.npz"):
        (job_dir / name).unlink()
    assert evaluated(job_dir, tmp_path / "out")["calibration"] == {"raw": found["raw"]}


def test_what_is_returned_is_what_is_written(scored):
    output_dir, summary = scored
    assert json.loads(json.dumps(summary.to_json())) == json.loads((output_dir / "metrics.json").read_text())


def test_the_report_is_about_this_evaluation(scored, tiny):
    output_dir, summary = scored
    page = (output_dir / "report.html").read_text("utf-8")
    assert f"{100 * summary.scores.track_accuracy_mean:.1f} %" in page
    for words in ("time", str(tiny.path), "f" * 64, "80 frames, 1.86 s", "blues", "data:image/png", "test report"):
        assert words in page
    for words in ("Seen in training", "Tracks without a patch", "Training dataset"):
        assert words not in page
    assert sorted(path.name for path in output_dir.iterdir()) == ["metrics.json", "report.html"]


def test_the_report_shows_what_the_filters_have_learned(scored):
    page = (scored[0] / "report.html").read_text("utf-8")
    assert page.count("<h2>Filters along time: rhythm</h2>") == 1 and "patches in test" in page
    assert page.index("Learning curves") < page.index("Filters along time") < page.index("<h2>Samples")


def test_parts_that_training_saw_and_links_to_the_audio_of_wrong_tracks(trained, tiny, tmp_path, capsys):
    for record in tiny.records["valid"]:
        audio = tmp_path / "audio" / record.track_id
        audio.parent.mkdir(parents=True, exist_ok=True)
        audio.write_bytes(b"")
    arguments = (f"--job_dir={trained}", "--parts=valid", f"--output_dir={tmp_path}/out")
    run(*arguments, f"--audio_dir={tmp_path}/audio")
    said = capsys.readouterr().out
    assert "warning: these parts were trained or validated on: no score for new music\n" in said
    assert_seen_parts_are_scored(trained, tiny, tmp_path / "out", ["valid"])
    wrong = json.loads((tmp_path / "out" / METRICS_FILE).read_text())["tracks_wrong"]
    page = (tmp_path / "out" / REPORT_FILE).read_text("utf-8")
    assert wrong
    for track in wrong:
        assert f'<a href="{(tmp_path / "audio" / track["track_id"]).as_uri()}">{track["track_id"]}</a>' in page
    with pytest.raises(UserError, match=r"^`audio_dir=nowhere`: no such folder"):
        run(*arguments, "--audio_dir=nowhere")


def assert_seen_parts_are_scored(job_dir, data, output_dir, parts):
    summary = json.loads((output_dir / METRICS_FILE).read_text())
    patches, tracks = by_hand(job_dir, data, parts)
    assert summary["parts"] == parts
    assert (summary["seen_in_training"], summary["tracks"]) == (True, 6 * len(parts))
    assert summary["patch_accuracy"] == pytest.approx(accuracy(patches))
    assert summary["track_accuracy_mean"] == pytest.approx(accuracy(tracks))
    page = (output_dir / REPORT_FILE).read_text("utf-8")
    assert "Seen in training" in page and "report on training data" in page and "test report" not in page


def test_several_parts_by_name(trained, tiny, tmp_path):
    evaluate.evaluate(trained, tmp_path, parts=["train", "test"])
    assert_seen_parts_are_scored(trained, tiny, tmp_path, ["train", "test"])


def test_the_report_says_how_the_model_was_trained(scored, trained, job_of, tiny, tmp_path):
    modern = (scored[0] / "report.html").read_text("utf-8")
    assert "modern: Adam, learning rate 0.01 falling to 0 along a cosine; batch 4; at most 2 epochs" in modern
    assert "Augmentation" not in modern and ">Filters<" not in modern
    job_dir = shutil.copytree(trained, tmp_path / "job")
    job = job_of(tiny.path, "--recipe=cbmi2016", "--model_options=filter_frames=60,filters=32")
    dataclasses.replace(job, augmentation=Augmentation(gain_db=3.0, time_masks=2)).save(job_dir)
    history = "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,1.0,0.5,3.0\n1,0.5,1.0,0.75,2.0\n2,0.5,1.0,0.75,1.0\n"
    (job_dir / HISTORY_FILE).write_text(history)
    summary = evaluated(job_dir, tmp_path)
    assert (summary["recipe"], scored[1].recipe) == ("cbmi2016", "modern")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "cbmi2016: SGD, learning rate 0.01, halved by the first new lowest training loss after more than 20" in page
    assert 'Model</th><td class="text">time, filter_frames 60, filters 32</td>' in page
    assert 'Augmentation</th><td class="text">gain_db 3, time_masks 2</td>' in page
    # The first epoch of the highest validation accuracy, not the last, of the lowest loss.
    assert "3 epochs; epoch 2 was the best on the validation tracks." in page


def test_the_report_says_what_the_epoch_was_chosen_on(scored, job_of, tiny):
    def said(*arguments, parts=None):
        job = job_of(tiny.path, *arguments)
        return evaluate._facts(dataclasses.replace(job, parts=parts or job.parts), tiny.manifest, scored[1])

    own = said("--recipe=augmented", "--patch_frames=80")
    assert (own["Trained on"], said()["Epoch chosen on"]) == ("train, valid", "valid")
    assert own["Epoch chosen on"] == "none: the last epoch is kept, there was no validation"
    assert own["Augmentation"] == "gain_db 6, mixup_alpha 0.3, frequency_masks 1, time_masks 1"
    assert "Precision" not in own and said("--precision=bfloat16")["Precision"] == "bfloat16"
    assert own["Training"].endswith("; weights averaged with momentum 0.99; the last epoch kept")
    assert (own["Patch"], said("--patch_mode=resize")["Patch"]) == (
        "80 frames, 1.86 s",
        "each clip resized to 80 frames",
    )
    watched = said("--recipe=augmented", "--patch_frames=80", parts=PartChoice(("train",), ("valid",), ("test",)))
    assert watched["Epoch chosen on"] == "none: the last epoch is kept, valid was only watched"


def test_the_report_says_where_filters_come_from(job_of, tiny, scored):
    job = job_of(tiny.path, "--model=time_frequency_init")
    own = evaluate._facts(job, tiny.manifest, scored[1])["Filters"]
    assert own == "of a time and a frequency model, trained first in its directory"
    job = dataclasses.replace(job, init_from=Parents("/a", "/b", "f"))
    given = evaluate._facts(job, tiny.manifest, scored[1])["Filters"]
    assert given == "of a time and a frequency model, those in /a and /b"


@pytest.fixture
def torn(write_dataset, tmp_path):
    """The tiny dataset once more, but its blues are by one artist, who is in all parts; the others by one a track."""
    return write_dataset(
        tmp_path / "torn",
        split={"group_safe": False},
        group_of=lambda track_id: "B" if track_id.startswith("blues") else track_id,
    )


def test_a_torn_split_is_scored_twice(trained, torn, tmp_path, capsys):
    run(f"--job_dir={trained}", f"--data_dir={torn.path}", f"--output_dir={tmp_path}/out")
    said = capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / METRICS_FILE).read_text())
    (entry,) = summary["new_groups"]
    assert (entry["new_to"], entry["shared_groups"], entry["tracks_left_out"]) == ("training", ["B"], 2)
    _, tracks = by_hand(trained, torn, ["test"])
    others = [(true, given) for true, given in tracks if true != 0]
    assert (summary["tracks"], entry["tracks"]) == (6, 4)
    assert entry["track_accuracy_mean"] == pytest.approx(accuracy(others))
    assert summary["track_accuracy_mean"] == pytest.approx(accuracy(tracks))
    assert any(line.startswith("artists new to training") and " 4 " in line for line in said.splitlines())
    assert summary["groups"] == "torn"
    assert (summary["num_groups"], summary["interval_method"]) == (5, "Wilson over groups")
    warning = "2 of 6 test tracks share their artist with training (B); there is a score without them"
    assert f"warning: {warning}\n" in said
    page = (tmp_path / "out" / REPORT_FILE).read_text("utf-8")
    assert warning in page and "Tracks, artists new to training" in page
    # The two tracks of blues are by one artist.
    assert "with the 5 groups of tracks" in page and "takes the tracks as independent" not in page


def test_a_torn_split_whose_test_is_not_concerned(trained, write_dataset, tmp_path):
    def group_of(track_id):
        return track_id if "test" in track_id else "in training and validation"

    data = write_dataset(tmp_path / "torn", split={"group_safe": False}, group_of=group_of)
    summary = evaluated(trained, tmp_path / "out", data_dir=str(data.path))
    assert summary["new_groups"] == []
    assert "Artists" not in (tmp_path / "out" / REPORT_FILE).read_text("utf-8")


def test_nobody_looks_for_shared_artists_where_none_can_be_or_all_are_seen(scored, trained, torn, tmp_path):
    assert scored[1].new_groups is None
    assert evaluated(trained, tmp_path, data_dir=str(torn.path), parts=["valid"])["new_groups"] is None


def test_another_dataset_is_normalised_as_training_was(trained, tmp_path, write_dataset):
    data = write_dataset(tmp_path / "other", seed=5, fingerprint="0" * 64, frames=(160, 250))
    summary = evaluated(trained, tmp_path, data_dir=str(data.path), parts=["train"])
    patches, tracks = by_hand(trained, data, ["train"])
    assert summary["patch_accuracy"] == pytest.approx(accuracy(patches))
    assert summary["track_accuracy_mean"] == pytest.approx(accuracy(tracks))
    assert summary["data_dir"] == str(data.path)


def test_of_another_dataset_it_is_not_known_whether_training_saw_it(trained, tiny, tmp_path, write_dataset, capsys):
    data = write_dataset(tmp_path / "other", seed=5, fingerprint="0" * 64, frames=(160, 250))
    run(f"--job_dir={trained}", f"--data_dir={data.path}", "--parts=train,test", f"--output_dir={tmp_path}/out")
    assert json.loads((tmp_path / "out" / METRICS_FILE).read_text())["seen_in_training"] is None
    told = "another dataset than the one trained on: it may hold training tracks"
    page = (tmp_path / "out" / REPORT_FILE).read_text("utf-8")
    assert f"warning: {told}\n" in capsys.readouterr().out
    assert told in page
    assert f'Dataset fingerprint</th><td class="text">{"0" * 64}</td>' in page
    assert f'Training dataset</th><td class="text">{tiny.path}, fingerprint {"f" * 64}</td>' in page


def test_tracks_that_give_no_patch_are_told_of(trained, tmp_path, write_dataset, capsys):
    data = write_dataset(tmp_path / "other", frames=(70, 90), tracks_per_label=4)
    short = sum(len(record.log_mel) < 80 for record in data.records["test"])
    assert 0 < short < 12
    run(f"--job_dir={trained}", f"--data_dir={data.path}", f"--output_dir={tmp_path}/out")
    summary = json.loads((tmp_path / "out" / METRICS_FILE).read_text())
    assert (summary["tracks_without_patch"], summary["tracks"]) == (short, 12 - short)
    told = f"tracks shorter than a patch, not in the score: {short}"
    assert f"warning: {told}\n" in capsys.readouterr().out
    assert told in (tmp_path / "out" / REPORT_FILE).read_text("utf-8")


@pytest.mark.parametrize(
    ("split", "groups", "told"),
    [
        ({"grouped": False, "group_safe": True}, "not_given", "no artists were given"),
        ({}, "torn", "some artists are in both training and test"),
    ],
)
def test_that_the_split_knew_no_artists_is_told(trained, torn, tmp_path, capsys, split, groups, told):
    manifest = json.loads((torn.path / FILE_NAME).read_text())
    (torn.path / FILE_NAME).write_text(json.dumps(manifest | {"split": split}))
    run(f"--job_dir={trained}", f"--data_dir={torn.path}", f"--output_dir={tmp_path}/out")
    printed, page = capsys.readouterr().out, (tmp_path / "out" / REPORT_FILE).read_text("utf-8")
    metrics = json.loads((tmp_path / "out" / METRICS_FILE).read_text())
    assert (metrics["groups"], metrics["num_groups"]) == (groups, None)
    assert metrics["interval_method"] == "Wilson over tracks"
    assert "takes the tracks as independent" in page and "with the 5 groups of tracks" not in page
    assert "warning:" in printed and told in printed
    assert told in page


def test_no_metrics_without_a_report(trained, tmp_path):
    (tmp_path / REPORT_FILE).mkdir()
    with pytest.raises(UserError, match=r"report\.html cannot be written: Is a directory"):
        evaluate.evaluate(trained, tmp_path)
    assert not (tmp_path / METRICS_FILE).exists()


def test_another_process_writes_there(trained, tmp_path):
    message = f"^{tmp_path}: another process is writing there$"
    with training_job.lock_job_dir(tmp_path), pytest.raises(UserError, match=message):
        evaluate.evaluate(trained, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_dataset_elsewhere_is_still_the_same(trained, tiny, tmp_path):
    moved = shutil.copytree(tiny.path, tmp_path / "moved")
    assert evaluated(trained, tmp_path, data_dir=str(moved))["parts"] == ["test"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fingerprint": "0" * 64}, "not the one that the model was trained on .* say which `parts` to score"),
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
    run(f"--job_dir={job_dir}")
    said = capsys.readouterr().out
    assert json.loads((job_dir / METRICS_FILE).read_text())["groups"] == "kept_apart"
    assert "with the 6 groups of tracks" in (job_dir / REPORT_FILE).read_text("utf-8")
    assert {"metrics.json", "report.html"} < {path.name for path in job_dir.iterdir()}
    assert said.splitlines()[0].split() == ["genre", "tracks", "accuracy", "precision", "recall", "F1"]
    assert "warning" not in said
    assert said.splitlines()[-1] == f"report: {job_dir}/report.html"


@pytest.mark.parametrize("flag", ["--data_dir=data", "--parts=valid"])
def test_the_score_of_the_test_part_is_not_replaced_by_another(trained, flag):
    with pytest.raises(UserError, match=r"^--data_dir and --parts need --output_dir=DIR"):
        run(f"--job_dir={trained}", flag)
    assert not (trained / METRICS_FILE).exists()


def test_a_mistake_makes_no_directory(trained, tmp_path):
    for arguments in (
        [f"--job_dir={tmp_path}/no"],
        [f"--job_dir={tmp_path}/no", f"--output_dir={tmp_path}/out"],
        [f"--job_dir={trained}", "--parts=no", f"--output_dir={tmp_path}/out"],
    ):
        with pytest.raises(UserError):
            run(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_mistakes_on_the_command_line(trained, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ([], "--job_dir=JOB is needed"),
        ([f"--job_dir={trained}", "more"], "unexpected argument 'more'"),
        ([f"--job_dir={trained}", f"--output_dir={tmp_path}/file/x"], "cannot be made: Not a directory"),
    ):
        with pytest.raises(UserError, match=message):
            run(*arguments)
