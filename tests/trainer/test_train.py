import copy
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from trainer import train, training_job
from trainer.config import RECIPES
from trainer.evaluation import metrics
from trainer.evaluation.predictions import load_model, predict
from trainer.training import epochs, init_filters, schedules
from trainer.training.callbacks import SaveProgress
from trainer.training.training_state import STATE_FILE, TrainingState
from trainer.training_job import CONFIG_FILE, METRICS_FILE, REPORT_FILE, RUN_FILE, TrainingJob, read_history

ROOT = Path(__file__).parents[2]
# Flags of the job `trained`.
LIKE_TRAINED = ["--model=time", "--epochs=2", "--batch_size=4", "--learning_rate=0.01", "--model_options=filters=4"]


@pytest.fixture
def run_here(capsys):
    """The command in this process: its status, and what it printed to standard output and to standard error."""

    def run_here(*arguments):
        with pytest.raises(SystemExit) as ended:
            argv = ["train", *map(str, arguments)]
            command_line.run(train.main, copy.deepcopy(train.FLAGS), usage=train.__doc__, argv=argv)
        return (ended.value.code, *capsys.readouterr())

    return run_here


def run_training(job, job_dir):
    job_dir.mkdir()
    train.train(job, job_dir)
    return read_history(job_dir)


def test_a_job_directory_holds_what_is_promised(trained, tiny):
    assert sorted(path.name for path in trained.iterdir()) == ["best.keras", "config.json", "history.csv", "logs"]
    history = read_history(trained)
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} < set(history)
    assert all(len(values) == 2 for values in history.values())
    assert list((trained / "logs").rglob("events.out.tfevents.*"))
    job = TrainingJob.load(trained)
    assert (job.parts.train, job.parts.valid, job.parts.test) == (("train",), ("valid",), ("test",))
    assert job.fingerprint == tiny.manifest.fingerprint
    assert Path(job.data_dir) == tiny.path
    assert set(job.versions) == {"tensorflow", "keras", "numpy"}


def test_the_statistics_are_those_of_the_training_parts_alone(trained, tiny):
    job = TrainingJob.load(trained)
    exact = tiny.exact["train"].astype(np.float64)
    np.testing.assert_allclose(job.statistics.mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(job.statistics.std, exact.std(axis=0), rtol=1e-12)


def test_the_model_kept_is_that_of_the_best_epoch(trained, tiny):
    history = read_history(trained)
    job = TrainingJob.load(trained)
    model = keras.models.load_model(trained / "best.keras")
    patches, labels = [], []
    for record in tiny.records["valid"]:
        for start in range(0, len(record.log_mel) - 79, 80):
            patches.append((record.log_mel[start : start + 80] - job.statistics.mean) / job.statistics.scale)
            labels.append(record.label)
    probabilities = model.predict_on_batch(np.array(patches, np.float32)[..., np.newaxis])
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert loss == pytest.approx(min(history["val_loss"]), rel=1e-4)
    best = RECIPES["modern"].best_epoch(schedules.rows_of(history))
    assert history["val_loss"][best - 1] == min(history["val_loss"])


def test_a_model_learns_what_can_be_learnt_and_reads_no_test_part(tmp_path, write_dataset, job_of):
    # The labels are loud in bands of their own, which black_box sees at once.
    parts = ("fold_0", "fold_1", "fold_2", "fold_3")
    data = write_dataset(tmp_path / "data", parts=parts, frames=(80, 90), tracks_per_label=4)
    arguments = ["--model=black_box", "--epochs=6", "--learning_rate=0.001", "--test_fold=1"]
    job = job_of(data.path, *arguments)
    assert (job.parts.train, job.parts.valid, job.parts.test) == (("fold_2", "fold_3"), ("fold_0",), ("fold_1",))
    for path in data.shards("fold_1"):
        path.unlink()
    history = run_training(job, tmp_path / "job")
    assert max(history["val_accuracy"]) > 0.9
    assert history["loss"][-1] < history["loss"][0]
    assert (tmp_path / "job" / "best.keras").exists()


@pytest.mark.parametrize(
    "arguments", [["--class_weights=balanced"], ["--sampling=balanced"], ["--augment=mixup_alpha=0.3"]]
)
def test_a_macro_score_may_choose_the_epoch(tiny, job_of, tmp_path, arguments):
    job = job_of(tiny.path, "--checkpoint_metric=val_macro_recall", "--model_options=filters=4", *arguments)
    history = run_training(job, tmp_path / "job")
    scores = history["val_macro_recall"]
    assert len(scores) == 2 and all(0 <= score <= 1 for score in scores + history["macro_recall"])
    predictions = predict(job, load_model(tmp_path / "job"), str(tiny.path), job.parts.valid)
    confusion = metrics.confusion_matrix(predictions.labels, predictions.probabilities.argmax(axis=1), 3)
    assert metrics.macro_scores(confusion)["macro_recall"] == pytest.approx(max(scores), abs=1e-6)


def test_training_stops_when_nothing_gets_better_counting_the_epochs_before_a_kill(tiny, job_of, states_kept, tmp_path):
    # With so small a rate, float32 cannot even hold the change.
    job = job_of(tiny.path, "--learning_rate=1e-30", "--epochs=20", "--patience=2")
    with states_kept(tmp_path / "job", tmp_path / "killed"):
        assert len(run_training(job, tmp_path / "job")["loss"]) == 3
    # At the end of the second epoch.
    run_on(job, tmp_path / "killed" / "3")
    assert len(read_history(tmp_path / "killed" / "3")["loss"]) == 3


def test_a_corrupt_shard_ends_in_one_line(tmp_path, write_dataset, job_of):
    data = write_dataset(tmp_path / "data")
    path = data.shards("train")[0]
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{path}: (corrupt|torn) at byte \d+"):
        run_training(job_of(data.path), tmp_path / "job")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test_fold=1"], "^`test_fold` needs a dataset of folds"),
        (["--patch_frames=251"], "train should be for training but hold no record of 251 frames; lower `patch_frames`"),
        (
            ["--recipe=augmented", "--patch_frames=256"],
            "train, valid should be for training but hold no record of 256 frames; lower `patch_f",
        ),
        (["--epochs=0"], "`epochs` must be from 1 to"),
        (["--recipe=cbmi"], "`recipe` must be one of modern, cbmi2016, augmented, probe, got 'cbmi'"),
        (["--recipe=cbmi2016", "--patience=3"], "`patience` does not apply to `recipe=cbmi2016`, .* got 3"),
        (["--model_options=filters=1.5"], "`filters` must be a whole number, got '1.5'"),
    ],
)
def test_what_the_dataset_does_not_allow(tiny, job_of, arguments, message):
    with pytest.raises(UserError, match=message):
        job_of(tiny.path, *arguments)


@pytest.mark.parametrize("part", ["fold_0", "fold_1", "fold_2"])
def test_a_shard_that_is_missing_anywhere_is_found_before_training(own, job_of, part):
    path = own.shards(part)[1]
    path.unlink()
    with pytest.raises(UserError, match=f"^{path} should hold"):
        job_of(own.path, "--patch_frames=2")


def run_on(job, job_dir, **options):
    start = train.unfinished(job, job_dir)
    assert start is not None
    train.train(job, job_dir, start=start, **options)


@pytest.fixture(scope="module")
def unbroken(tiny, job_of, states_kept, tmp_path_factory):
    """A job of two epochs of four steps, its directory, and the log of its batches.

    Last what it and its log would have been after a kill when a state was saved: directories 1, 2, ...
    """
    work, killed = tmp_path_factory.mktemp("unbroken"), tmp_path_factory.mktemp("killed")
    job, job_dir, log = job_of(tiny.path, "--batch_size=3"), work / "job", work / "log"
    job_dir.mkdir()
    with states_kept(work, killed, of="job"):
        train.train(job, job_dir, options=train.RunOptions(save_every_s=0, log_batches=log))
    lines = log.read_text().splitlines()
    steps = len(lines) // 2
    assert steps > 2
    assert [line.split()[:2] for line in lines] == [[str(n // steps), str(n % steps)] for n in range(2 * steps)]
    # The last batch of an epoch is of one patch, which may be the same again.
    assert len({line.split()[2] for line in lines}) >= len(lines) - 1
    return job, job_dir, lines, killed


MIXED = "--augment=gain_db=3,mixup_alpha=0.5,frequency_masks=1,time_masks=1"


def test_augmented_batches_are_those_of_an_unbroken_training(write_dataset, job_of, tmp_path):
    data = write_dataset(tmp_path / "data", front_end={"compression": "log10"})
    job = job_of(data.path, MIXED)
    patches = data.manifest.num_patches(job.parts.train, patch_frames=80, patch_hop=80)
    steps = -(-patches // job.batch_size)

    def batches(job, count, **position):
        made = epochs.training_batches(job, None, patches=patches, **position)
        return list(made.take(count).as_numpy_iterator())

    whole, rest = batches(job, 2 * steps, epoch=0, step=0), batches(job, steps - 1, epoch=1, step=1)
    for (patch, label), (expected_patch, expected_label) in zip(rest, whole[steps + 1 :], strict=True):
        np.testing.assert_array_equal(patch, expected_patch)
        np.testing.assert_array_equal(label, expected_label)
    plain = batches(job_of(data.path), 1, epoch=0, step=0)[0]
    assert whole[0][0].shape == plain[0].shape and np.abs(whole[0][0] - plain[0]).max() > 0.1
    assert whole[0][1].shape == (len(plain[1]), len(job.labels))
    np.testing.assert_allclose(whole[0][1].sum(axis=1), 1, atol=1e-6)


def test_a_job_with_mixed_labels_trains_and_knows_it(write_dataset, job_of, tmp_path):
    data = write_dataset(tmp_path / "data", front_end={"compression": "log10"})
    history = run_training(job_of(data.path, MIXED, "--epochs=1"), tmp_path / "job")
    assert np.isfinite(history["val_loss"]).all()
    kept = TrainingJob.load(tmp_path / "job")
    assert kept.augmentation.mixup_alpha == 0.5
    assert kept.differences(job_of(data.path, "--epochs=1")) == ["other augmentation"]


def test_a_mask_wider_than_a_patch_is_refused(tiny, job_of):
    with pytest.raises(
        UserError, match=r"^`time_mask_frames` must .* 15 frames of a patch, got 16; lower it in `augment`$"
    ):
        job_of(tiny.path, "--recipe=augmented", "--patch_frames=15")
    with pytest.raises(UserError, match="`frequency_mask_bands` must be at most the 40 mel bands"):
        job_of(tiny.path, "--augment=frequency_masks=1,frequency_mask_bands=41")


# The first state is that of the start; within an epoch there is one after each step but the last.
@pytest.mark.parametrize("moment", ["within", "epoch's end", "within second", "end"])
def test_a_training_that_was_killed_goes_on_where_it_was(unbroken, tmp_path, capsys, moment):
    job, whole, lines, killed = unbroken
    steps = len(lines) // 2
    number = {"within": 3, "epoch's end": 1 + steps, "within second": 2 + steps, "end": 1 + 2 * steps}[moment]
    done = {"within": 2, "epoch's end": steps, "within second": 1 + steps, "end": 2 * steps}[moment]
    work = shutil.copytree(killed / str(number), tmp_path / "work")
    job_dir, log = work / "job", work / "log"
    before = log.read_text().splitlines()
    # The line of the step that was saved may be missing: it is written after the state.
    assert lines[: max(0, done - 1)] == before[: done - 1] and len(before) <= done
    log.unlink()
    run_on(job, job_dir, options=train.RunOptions(log_batches=log))
    said = f"going on in epoch {1 + done // steps} of 2, after step {done % steps} of {steps}"
    assert capsys.readouterr().out.startswith(said if moment != "end" else "all 2 epochs are done")
    assert log.read_text().splitlines() == lines[done:]
    found, expected_history = read_history(job_dir), read_history(whole)
    assert list(found) == list(expected_history)
    np.testing.assert_allclose(list(found.values()), list(expected_history.values()), atol=1e-6)
    own, others = (keras.models.load_model(path / "best.keras").get_weights() for path in (job_dir, whole))
    for weights, expected in zip(own, others, strict=True):
        np.testing.assert_allclose(weights, expected, atol=1e-6)
    assert sorted(path.name for path in job_dir.iterdir()) == ["best.keras", "config.json", "history.csv", "logs"]
    with pytest.raises(UserError, match="already holds a job"):
        train.unfinished(job, job_dir)


def signal_at(monkeypatch, callback, moment, number):
    """Has SIGTERM come in the midst of a callback's so manieth call."""
    usual, calls = getattr(callback, moment), []

    def with_signal(self, *arguments, **more):
        calls.append(arguments)
        if len(calls) == number:
            signal.raise_signal(signal.SIGTERM)
        usual(self, *arguments, **more)

    monkeypatch.setattr(callback, moment, with_signal)


def test_what_is_told_to_stop_loses_nothing(unbroken, tiny, train_flags, read_events, tmp_path, monkeypatch, capsys):
    _, whole, lines, _ = unbroken
    steps, job_dir, log = len(lines) // 2, tmp_path / "job", tmp_path / "log"
    small = ["--model=time", "--epochs=2", "--batch_size=3", "--learning_rate=0.01", "--profile_steps=2,3"]
    values = train_flags(f"--data_dir={tiny.path}", f"--job_dir={job_dir}", f"--log_batches={log}", *small)
    # In the second epoch of two: after a step, in the validation, and at the end.
    for event, number, done, where in (
        ("on_train_batch_end", steps + 2, steps + 2, "in epoch 2 of 2 of time, after step 2 of"),
        ("on_test_batch_begin", 2, 2 * steps, f"in epoch 2 of 2 of time, after step {steps} of"),
        ("on_epoch_end", 1, 2 * steps, "after epoch 2 of 2 of time"),
    ):
        with monkeypatch.context() as patch:
            signal_at(patch, SaveProgress, event, number)
            assert train.main(values, []) == 75
        assert f"{job_dir}: stopped by SIGTERM {where}" in capsys.readouterr().err
        assert log.read_text().splitlines() == lines[:done]
    assert train.main(values, []) == 0
    # Each batch once, and all else to the last bit.
    assert log.read_text().splitlines() == lines
    assert read_history(job_dir) == read_history(whole)
    own, others = (keras.models.load_model(path / "best.keras").get_weights() for path in (job_dir, whole))
    for weights, expected in zip(own, others, strict=True):
        np.testing.assert_array_equal(weights, expected)
    starts = json.loads((job_dir / RUN_FILE).read_text())["starts"]
    places = [start["finished_epochs"] * steps + start["step"] for start in starts]
    assert places == [0, steps + 2, 2 * steps, 2 * steps]
    assert starts[0]["command"].startswith("python -m trainer.train ") and "--epochs=2" in starts[0]["command"]
    for name in ("train", "validation"):
        shown = read_events(job_dir / "logs" / name)
        for tag in ("epoch_loss", "epoch_accuracy"):
            assert [step for step, _ in shown[tag]] == [0, 1]
    assert shown["confusion_matrix"]
    assert list((job_dir / "logs").glob("plugins/profile/*/*.xplane.pb"))


def test_sigterm_ends_a_process_with_a_status_of_its_own(tiny, tmp_path):
    job_dir, log = tmp_path / "job", tmp_path / "log"
    arguments = ["--model=time", "--epochs=999", "--patience=999", "--batch_size=3", f"--log_batches={log}"]
    command = [sys.executable, "-m", "trainer.train", f"--data_dir={tiny.path}", f"--job_dir={job_dir}", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline and not (log.exists() and log.stat().st_size):
            time.sleep(0.01)
        process.terminate()
        said = process.communicate(timeout=300)[1]
    finally:
        process.kill()
    assert process.returncode == 75
    assert said.startswith(f"{job_dir}: stopped by SIGTERM ") and len(said.splitlines()) == 1
    assert said.endswith("; the same command goes on from there\n")
    state, lines = TrainingState.load(job_dir / STATE_FILE), log.read_text().splitlines()
    epoch, step = map(int, lines[-1].split()[:2])
    # After the step whose batch was the last one; the last step of an epoch may have been followed by its end.
    assert (state.epoch, state.step) in ((epoch, step + 1), (epoch + 1, 0))


def test_a_job_that_is_trained_says_so(trained, tiny, train_flags, capsys):
    before = (trained / "best.keras").read_bytes()
    assert train.main(train_flags(f"--data_dir={tiny.path}", f"--job_dir={trained}", *LIKE_TRAINED), []) == 0
    best = RECIPES["modern"].best_epoch(schedules.rows_of(read_history(trained)))
    assert capsys.readouterr().out == (
        f"{trained} holds this very job, trained to its end: best epoch {best} of 2, {trained}/best.keras; "
        "--overwrite trains it again\n"
    )
    assert (trained / "best.keras").read_bytes() == before


def test_the_best_model_of_earlier_epochs_stays_the_best(unbroken, tmp_path):
    job, _, lines, killed = unbroken
    steps = len(lines) // 2
    job_dir = shutil.copytree(killed / str(2 + steps) / "job", tmp_path / "job")
    state = TrainingState.load(job_dir / STATE_FILE)
    # As if no later epoch could be better.
    dataclasses.replace(state, history=[{**state.history[0], "val_loss": -1.0}]).save(job_dir / STATE_FILE)
    before = (job_dir / "best.keras").read_bytes()
    run_on(job, job_dir)
    assert (job_dir / "best.keras").read_bytes() == before
    assert len(read_history(job_dir)["val_loss"]) == 2


AUGMENTED = ("--recipe=augmented", "--patch_frames=80", "--batch_size=6")


@pytest.fixture(scope="module")
def augmented(tiny, states_kept, tmp_path_factory, train_flags):
    """Arguments of a job of two epochs of four steps that keeps its last epoch, its directory, and the batches' log.

    Beside its directory lies what kills after each save leave.
    """
    work = tmp_path_factory.mktemp("augmented")
    job_dir, log = work / "job", work / "log"
    arguments = [f"--data_dir={tiny.path}", "--model=time", "--epochs=2", *AUGMENTED]
    with states_kept(job_dir, work / "killed"):
        assert train.main(train_flags(*arguments, f"--job_dir={job_dir}", f"--log_batches={log}"), []) == 0
    return arguments, job_dir, log.read_text().splitlines()


def test_a_job_that_keeps_its_last_epoch_says_that_there_was_no_validation(augmented, train_flags, capsys):
    arguments, job_dir, _ = augmented
    assert sorted(path.name for path in job_dir.iterdir()) == [
        "best.keras",
        "config.json",
        "history.csv",
        "logs",
        RUN_FILE,
    ]
    assert list(read_history(job_dir)) == ["epoch", "accuracy", "loss"]
    assert [path.name for path in (job_dir / "logs").iterdir()] == ["train"]
    job = TrainingJob.load(job_dir)
    assert (job.parts.train, job.parts.valid, job.parts.test) == (("train", "valid"), (), ("test",))
    assert train.main(train_flags(*arguments, f"--job_dir={job_dir}"), []) == 0
    assert f"trained to its end: last epoch 2 of 2, {job_dir}/best.keras;" in capsys.readouterr().out


@pytest.mark.parametrize(
    "moments",
    [
        # After the last step of the first epoch but before its end, then within the second. Before a first step ends,
        # a signal would end the process.
        pytest.param([("on_train_batch_end", 4), ("on_train_batch_end", 2)], id="last step, second step"),
        # Within the first epoch, then at its end.
        pytest.param([("on_train_batch_end", 2), ("on_epoch_end", 1)], marks=pytest.mark.slow, id="step, end"),
    ],
)
def test_averaged_weights_go_on_to_the_last_bit(augmented, train_flags, tmp_path, monkeypatch, capsys, moments):
    arguments, whole, lines = augmented
    job_dir, log = tmp_path / "job", tmp_path / "log"
    assert len(lines) == 2 * 4
    values = train_flags(*arguments, f"--job_dir={job_dir}", f"--log_batches={log}")
    for event, number in moments:
        with monkeypatch.context() as patch:
            signal_at(patch, SaveProgress, event, number)
            assert train.main(values, []) == 75
    assert train.main(values, []) == 0
    said = capsys.readouterr()
    assert "training on train, valid, without validation; " in said.out
    assert f"last epoch 2: {job_dir}/best.keras" in said.out and "validation " not in said.out
    assert log.read_text().splitlines() == lines
    assert read_history(job_dir) == read_history(whole)
    own, others = (keras.models.load_model(path / "best.keras") for path in (job_dir, whole))
    for weights, expected in zip(own.get_weights(), others.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, expected)
    for variable, expected in zip(own.optimizer.variables, others.optimizer.variables, strict=True):
        np.testing.assert_array_equal(variable, expected)


def test_the_averages_of_an_end_that_was_killed_are_kept_from_its_state(augmented, tmp_path, capsys):
    _, whole, _ = augmented
    # The state of the second epoch's end is there, and its model is not.
    job_dir = shutil.copytree(whole.parent / "killed" / "3", tmp_path / "job")
    run_on(TrainingJob.load(whole), job_dir)
    assert "all 2 epochs are done" in capsys.readouterr().out
    own, others = (keras.models.load_model(path / "best.keras").get_weights() for path in (job_dir, whole))
    for weights, expected in zip(own, others, strict=True):
        np.testing.assert_array_equal(weights, expected)


def test_what_is_kept_are_the_averages_of_the_last_step(augmented):
    _, job_dir, lines = augmented
    model = keras.models.load_model(job_dir / "best.keras")
    optimizer = model.optimizer
    assert (int(optimizer.iterations), optimizer.ema_momentum) == (len(lines), 0.99)
    averages = [variable for variable in optimizer.variables if variable.path.endswith("_average")]
    for weight, average in zip(model.trainable_variables, averages, strict=True):
        np.testing.assert_array_equal(weight, average)


@pytest.mark.slow
def test_averages_are_validated_and_a_stop_within_it_keeps_the_weights(tiny, train_flags, tmp_path, monkeypatch):
    more = ["--weight_average=0.5", "--learning_rate=0.01"]
    arguments = [f"--data_dir={tiny.path}", "--model=time", "--epochs=2", "--batch_size=4", *more]
    whole, job_dir = (train_flags(*arguments, f"--job_dir={tmp_path / name}") for name in ("whole", "job"))
    assert train.main(whole, []) == 0
    with monkeypatch.context() as patch:
        signal_at(patch, SaveProgress, "on_test_batch_begin", 2)
        assert train.main(job_dir, []) == 75
    assert train.main(job_dir, []) == 0
    history = read_history(tmp_path / "whole")
    assert read_history(tmp_path / "job") == history
    own, others = (keras.models.load_model(tmp_path / name / "best.keras").get_weights() for name in ("job", "whole"))
    for weights, expected in zip(own, others, strict=True):
        np.testing.assert_array_equal(weights, expected)
    # The loss by which an epoch is chosen is that of the model that is kept.
    job = TrainingJob.load(tmp_path / "whole")
    model = keras.models.load_model(tmp_path / "whole" / "best.keras")
    loss = model.evaluate(epochs.validation_batches(job), verbose=0)[0]
    assert loss == pytest.approx(min(history["val_loss"]), rel=1e-4)


def test_the_parents_of_a_job_train_by_its_recipe(tiny, train_flags):
    arguments = [f"--data_dir={tiny.path}", "--model=time_frequency_init", "--model_options=filters=2", "--epochs=1"]
    job = train.make_job(train_flags(*arguments, *AUGMENTED))
    parents = init_filters.own_parents(job)
    assert {name: parent.model for name, parent in parents.items()} == {"time": "time", "frequency": "frequency"}
    for parent in parents.values():
        assert (parent.recipe, parent.parts, parent.weight_average) == ("augmented", job.parts, 0.99)
        assert parent.rules.checkpoint_metric is None and not parent.parts.valid


def iterations_of_best(job_dir):
    return int(keras.models.load_model(job_dir / "best.keras").optimizer.iterations)


def test_the_papers_recipe_goes_on_as_if_it_had_not_stopped(tiny, job_of, states_kept, tmp_path, monkeypatch, capsys):
    rises = schedules.LossRiseSchedule(to_halve=0, to_stop=1)
    recipe = dataclasses.replace(RECIPES["cbmi2016"], rises=rises)
    monkeypatch.setitem(RECIPES, "cbmi2016", recipe)
    job = job_of(tiny.path, "--recipe=cbmi2016", "--learning_rate=0.01", "--epochs=20", "--seed=4")
    whole, killed, steps = tmp_path / "whole", tmp_path / "killed", 3
    whole.mkdir()
    with states_kept(whole, killed):
        train.train(job, whole, options=train.RunOptions(save_every_s=0))
    expected = read_history(whole)
    rows = schedules.rows_of(expected)
    counts = [rises.count(rows[:epoch]) for epoch in range(len(rows) + 1)]
    halved = counts.index((1, 0))
    assert halved > 1 and f"learning rate 0.005 from epoch {halved + 1} on\n" in capsys.readouterr().out
    # What halves the rate, and what ends training, began in an earlier epoch.
    assert counts[halved - 1] == (0, 1) and counts[-2:] == [(1, 1), (1, 2)] and len(rows) < 20
    best = recipe.best_epoch(rows)
    assert iterations_of_best(whole) == best * steps
    assert best != RECIPES["modern"].best_epoch(rows), "accuracy and loss have to disagree for this to tell"
    # At the ends of the epochs before and after which the rate is halved, and within the last one. The first state is
    # that of the start; each epoch has as many as steps.
    for number in (1 + (halved - 1) * steps, 1 + halved * steps, 2 + (len(rows) - 1) * steps):
        job_dir = killed / str(number)
        run_on(job, job_dir)
        found = read_history(job_dir)
        np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-5, err_msg=str(number))
        assert iterations_of_best(job_dir) == best * steps


def test_a_job_that_was_stopped_before_it_began_is_begun(tiny, job_of, tmp_path):
    # A state without a configuration is what a kill between the two leaves.
    TrainingState().save(tmp_path / STATE_FILE)
    assert train.unfinished(job_of(tiny.path), tmp_path) is None


def test_an_unfinished_job_that_differs_is_held_or_is_damaged_is_refused(unbroken, tiny, tmp_path, run_here):
    _, _, lines, killed = unbroken
    job_dir = shutil.copytree(killed / str(1 + len(lines) // 2) / "job", tmp_path / "job")
    state = (job_dir / STATE_FILE).read_bytes()
    arguments = [f"--data_dir={tiny.path}", f"--job_dir={job_dir}", "--model=time", "--epochs=2", "--batch_size=3"]
    assert run_here(*arguments, "--seed=1") == (
        2,
        "",
        f"error: {job_dir} holds an unfinished job that differs: learning_rate 0.01, not 0.001; seed 0, not 1; "
        "go on with its settings, choose another --job_dir, or --overwrite it\n",
    )
    assert (job_dir / STATE_FILE).read_bytes() == state
    with training_job.lock_job_dir(job_dir):
        status, _, said = run_here(*arguments, "--learning_rate=0.01")
    assert (status, said) == (2, f"error: {job_dir}: another process is writing there\n")
    (job_dir / STATE_FILE).write_bytes(state[:-100])
    status, _, said = run_here(*arguments, "--learning_rate=0.01")
    assert status == 2
    assert said.startswith(f"error: {job_dir}/state.npz: not the state of this training (")
    assert len(said.splitlines()) == 1


def test_a_held_job_directory_is_refused_in_one_line(trained, tiny, run_here):
    before = (trained / CONFIG_FILE).read_bytes()
    assert run_here(f"--data_dir={tiny.path}", f"--job_dir={trained}") == (
        2,
        "",
        f"error: {trained} already holds a job that differs: model time, not black_box; other model_options; "
        "epochs 2, not 40; batch_size 4, not 64; learning_rate 0.01, not 0.001; choose another --job_dir, or "
        "--overwrite it\n",
    )
    assert (trained / CONFIG_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--model=tiem", "`model` must be one of"),
        ("--patch_frames=59", "filters need 60 frames"),
        ("--model_options=filter_bands=30", "time has no option 'filter_bands'; .* are filters, filter_frames$"),
    ],
)
def test_overwriting_begins_only_when_the_new_job_can(tiny, job_of, tmp_path, flag, message):
    job_dir = tmp_path / "job"
    job_dir.mkdir()
    (job_dir / CONFIG_FILE).write_text("the earlier job")
    with pytest.raises(UserError, match=message):
        train.train(job_of(tiny.path, flag), job_dir)
    assert (job_dir / CONFIG_FILE).read_text() == "the earlier job"


def test_overwriting_leaves_nothing_of_the_earlier_job(trained, tiny, tmp_path, run_here):
    job_dir = tmp_path / "job"
    (job_dir / "logs" / "old").mkdir(parents=True)
    (job_dir / CONFIG_FILE).write_text("{}")
    for name in (METRICS_FILE, REPORT_FILE, RUN_FILE, "notes.txt"):
        (job_dir / name).write_text("mine")
    arguments = [f"--data_dir={tiny.path}", f"--job_dir={job_dir}", *LIKE_TRAINED, "--seed=1", "--overwrite"]
    status, printed, said = run_here(*arguments)
    assert (status, said) == (0, "")
    assert "epoch 1 of 2: loss " in printed
    assert json.loads((job_dir / CONFIG_FILE).read_text())["epochs"] == 2
    for name in ("logs/old", METRICS_FILE, REPORT_FILE):
        assert not (job_dir / name).exists()
    assert len(json.loads((job_dir / RUN_FILE).read_text())["starts"]) == 1
    assert (job_dir / "notes.txt").read_text() == "mine"
    # Another seed gives other losses; that the same gives the same is what trainings that go on show.
    first, other = read_history(trained), read_history(job_dir)
    for name in ("loss", "val_loss"):
        assert np.abs(np.subtract(other[name], first[name])).max() > 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data_dir=OUT and --job_dir=JOB are needed"),
        (["--data_dir={data}", "--job_dir={data}/manifest.json/job"], "cannot be made: Not a directory"),
        (["--data_dir={data}/no", "--job_dir={data}/job"], "{data}/no: no such directory"),
        (["--data_dir={data}", "--job_dir={data}/job", "--model=tiem"], "--model must be one of black_box, time"),
        (["--data_dir={data}", "--job_dir=x", "y"], "unexpected argument 'y'"),
        (
            ["--data_dir={data}", "--job_dir={data}/job", "--profile_steps=9"],
            "--profile_steps: two steps, counted",
        ),
        (
            ["--data_dir={data}", "--job_dir={data}/job", "--save_every_s=-1"],
            "--save_every_s must be at least 0, got -1",
        ),
    ],
)
def test_mistakes_end_in_one_line_and_status_2(own, run_here, arguments, message):
    arguments = [argument.format(data=own.path) for argument in arguments]
    status, printed, said = run_here(*arguments, "--patch_frames=2")
    assert (status, printed) == (2, "")
    assert message.format(data=own.path) in said
    assert said.startswith("error: ") and len(said.splitlines()) == 1
    assert not (own.path / "job").exists()


def test_a_cross_validation_is_not_overwritten(tiny, tmp_path, train_flags):
    (tmp_path / "cross_validation.json").write_text("{}")
    (tmp_path / REPORT_FILE).write_text("the report")
    for more in ([], ["--overwrite"]):
        with pytest.raises(UserError, match=f"^{tmp_path} holds a cross-validation; choose another --job_dir$"):
            train.main(train_flags(f"--data_dir={tiny.path}", f"--job_dir={tmp_path}", "--model=time", *more), [])
    assert (tmp_path / REPORT_FILE).read_text() == "the report"
