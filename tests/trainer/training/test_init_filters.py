import contextlib
import dataclasses
import io
import shutil

import keras
import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer import models, train
from trainer.evaluation.predictions import load_model
from trainer.training import init_filters
from trainer.training.resume import start_over
from trainer.training.training_state import STATE_FILE, TrainingState
from trainer.training_job import CHECKPOINT_FILE, CONFIG_FILE, TrainingJob, read_history

SHAPE = (80, 40, 1)
INIT = "--model=time_frequency_init"
SMALL = "--model_options=filters=4,units=8"


class Killed(BaseException):
    pass


def run_until_save(monkeypatch, number, job, job_dir, *, of="", start=None):
    """Trains until so many states have been saved in job_dir/of, and not a moment longer."""
    with monkeypatch.context() as patch:
        save, saves = TrainingState.save, []

        def save_and_die(state, path):
            save(state, path)
            if path.parent == job_dir / of:
                saves.append(path)
            if len(saves) == number:
                raise Killed

        patch.setattr(TrainingState, "save", save_and_die)
        job_dir.mkdir(exist_ok=True)
        with pytest.raises(Killed):
            train.train(job, job_dir, start=start)


def filters_of(model, name="convolution"):
    return model.get_layer(name).get_weights()


def assert_filters(model, time, frequency):
    for name, parent in (("time", time), ("frequency", frequency)):
        for found, expected in zip(filters_of(model, f"{name}_convolution"), filters_of(parent), strict=True):
            np.testing.assert_array_equal(found, expected)


def restored(job, state):
    model = models.create(job.model, num_classes=len(job.labels), input_shape=SHAPE, **job.model_options)
    for variable, (name, value) in zip(model.trainable_variables, state.variables.items(), strict=False):
        assert name.startswith("trainable/")
        variable.assign(value)
    return model


@pytest.fixture(scope="module")
def folds(tmp_path_factory, write_dataset):
    return write_dataset(tmp_path_factory.mktemp("folds") / "data", parts=tuple(f"fold_{n}" for n in range(4)))


@pytest.fixture(scope="module")
def alone(folds, job_of, states_kept, tmp_path_factory):
    """A job that trains its parents itself, its directory, and what it printed; kills while time trained lie beside."""
    job, job_dir = job_of(folds.path, INIT, SMALL), tmp_path_factory.mktemp("alone") / "job"
    job_dir.mkdir()
    said = io.StringIO()
    with states_kept(job_dir, job_dir.parent / "killed", of="time"), contextlib.redirect_stdout(said):
        train.train(job, job_dir)
    return job, job_dir, said.getvalue()


@pytest.fixture(scope="module")
def parents(alone):
    """Directories of a trained time and a trained frequency job; not to be changed by a test."""
    _, job_dir, _ = alone
    return job_dir / "time", job_dir / "frequency"


@pytest.fixture(scope="module")
def child(folds, job_of, parents, states_kept, tmp_path_factory):
    """A job made with parents, and the directory in which it has been trained unbroken; beside it what kills leave."""
    job = job_of(folds.path, INIT, SMALL, f"--init_from={parents[0]},{parents[1]}")
    job_dir = tmp_path_factory.mktemp("child") / "job"
    job_dir.mkdir()
    with states_kept(job_dir, job_dir.parent / "killed"):
        train.train(job, job_dir)
    return job, job_dir


def assert_same_training(job_dir, other):
    found, expected = read_history(job_dir), read_history(other)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-6)
    for weights, others in zip(load_model(job_dir).get_weights(), load_model(other).get_weights(), strict=True):
        np.testing.assert_allclose(weights, others, atol=1e-6)


def test_filters_are_copied_and_nothing_else():
    keras.utils.set_random_seed(0)
    model, time, frequency = (
        models.create(name, num_classes=3, input_shape=SHAPE) for name in ("time_frequency_init", "time", "frequency")
    )
    for parent in (time, frequency):
        parent.get_layer("convolution").bias.assign(np.linspace(-1, 1, 32))
    dense = [model.get_layer(name).get_weights() for name in ("dense", "genre")]
    init_filters.copy_filters(model, time=time, frequency=frequency)
    assert_filters(model, time, frequency)
    for before, after in zip(dense, [model.get_layer(name).get_weights() for name in ("dense", "genre")], strict=True):
        for weights, others in zip(before, after, strict=True):
            np.testing.assert_array_equal(weights, others)


def test_filters_of_another_size_are_refused():
    model = models.create("time_frequency_init", num_classes=3, input_shape=SHAPE)
    time = models.create("time", num_classes=3, input_shape=SHAPE)
    frequency = models.create("frequency", num_classes=3, input_shape=SHAPE, filter_bands=30)
    with pytest.raises(UserError, match=r"frequency are 32 of 30 bands x 1 frames, this model's 32 of 32 bands x 1 fr"):
        init_filters.copy_filters(model, time=time, frequency=frequency)


def test_training_starts_from_the_parents_filters(child, parents):
    job, job_dir = child
    state = TrainingState.load(job_dir.parent / "killed" / "1" / STATE_FILE)
    assert (state.epoch, state.step) == (0, 0)
    assert_filters(restored(job, state), *map(load_model, parents))


def test_a_training_that_goes_on_does_not_copy_again(child, tmp_path):
    job, whole = child
    job_dir = shutil.copytree(whole.parent / "killed" / "2", tmp_path / "job")
    # The parents are there no more.
    gone = dataclasses.replace(job.init_from, time_dir=str(tmp_path / "time"), frequency_dir=str(tmp_path / "freq"))
    job = dataclasses.replace(job, init_from=gone)
    start = train.unfinished(job, job_dir)
    assert start.epoch == 1
    train.train(job, job_dir, start=start)
    assert_same_training(job_dir, whole)


def test_a_job_is_another_when_the_weights_are_and_not_when_they_have_moved(child, parents, tmp_path):
    job, job_dir = child
    moved = init_filters.parents_of(*(shutil.copytree(path, tmp_path / path.name) for path in parents))
    assert moved == job.init_from and moved.time_dir != job.init_from.time_dir
    model = load_model(parents[0])
    model.get_layer("genre").bias.assign([7.0, 7.0, 7.0])
    model.save(tmp_path / "time" / CHECKPOINT_FILE)
    changed = init_filters.parents_of(tmp_path / "time", tmp_path / "frequency")
    assert job.differences(dataclasses.replace(job, init_from=changed)) == ["other init_from"]
    assert TrainingJob.load(job_dir).init_from == job.init_from
    gone = dataclasses.replace(job, init_from=dataclasses.replace(moved, fingerprint="f"))
    with pytest.raises(UserError, match="are not those that the job was made with"):
        train.train(gone, tmp_path)


def test_the_same_weights_saved_again_are_the_same_parents(parents, tmp_path):
    own = [shutil.copytree(path, tmp_path / path.name) for path in parents]
    before = init_filters.parents_of(*own)
    copies = [load_model(path) for path in own]
    prints = []
    for _ in range(2):
        for path, model in zip(own, copies, strict=True):
            model.save(path / CHECKPOINT_FILE)
        prints.append(init_filters.parents_of(*own).fingerprint)
    assert prints[0] == prints[1] and len(before.fingerprint) == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test_fold=2"], r"was trained on fold_0, fold_1, not on fold_0, fold_3 as this job; .* validation or test"),
        (["--test_fold=3", "--valid_fold=1"], r"was trained on fold_0, fold_1, not on fold_0, fold_2"),
        (["--test_fold=2", "--valid_fold=3"], r"was chosen on fold_2, not on fold_3 as this job"),
    ],
)
def test_parents_that_know_validation_or_test_tracks_are_refused(folds, job_of, parents, arguments, message):
    with pytest.raises(UserError, match=message):
        job_of(folds.path, INIT, SMALL, f"--init_from={parents[0]},{parents[1]}", *arguments)


def test_parents_that_do_not_fit_are_refused(folds, tiny, job_of, parents, tmp_path):
    time, frequency = parents
    half = shutil.copytree(time, tmp_path / "half")
    TrainingState().save(half / STATE_FILE)
    for directories, message in (
        (f"{frequency},{time}", "holds a model frequency, not time; give TIME_JOB,FREQUENCY_JOB"),
        (f"{time}", "`init_from` must be TIME_JOB,FREQUENCY_JOB, got"),
        (f"{time},{tmp_path}/no", r"no/best\.keras is no trained model"),
        (f"{half},{frequency}", "half is not trained to its end"),
    ):
        with pytest.raises(UserError, match=message):
            job_of(folds.path, INIT, SMALL, f"--init_from={directories}")
    with pytest.raises(UserError, match="was trained on another dataset"):
        other = shutil.copytree(time, tmp_path / "other")
        dataclasses.replace(TrainingJob.load(time), fingerprint="0" * 64).save(other)
        job_of(folds.path, INIT, SMALL, f"--init_from={other},{frequency}")
    with pytest.raises(UserError, match="`init_from` is for `model=time_frequency_init`, got the model time"):
        job_of(folds.path, f"--init_from={time},{frequency}")


def test_other_filter_sizes_are_found_before_anything_is_overwritten(folds, job_of, parents, tmp_path):
    (tmp_path / CONFIG_FILE).write_text("the earlier job")
    job = job_of(folds.path, INIT, "--model_options=filters=5", f"--init_from={parents[0]},{parents[1]}")
    with pytest.raises(UserError, match="trained filters of time are 4 of 1 bands x 60 frames, this model's 5 of"):
        train.train(job, tmp_path)
    assert (tmp_path / CONFIG_FILE).read_text() == "the earlier job"


def test_without_parents_it_trains_them_first(alone, folds, job_of, child):
    _, job_dir, said = alone
    for name in ("time", "frequency"):
        assert f"time_frequency_init: trains its {name} model first, in {job_dir / name}\n" in said
        expected = job_of(folds.path, f"--model={name}", "--model_options=filters=4")
        assert TrainingJob.load(job_dir / name).differences(expected) == []
    assert f"starts with the filters of {job_dir}/time and {job_dir}/frequency\n" in said
    # The very training that takes the same parents from elsewhere.
    assert_same_training(job_dir, child[1])
    own = ["best.keras", "confidence.json", "config.json", "familiarity.npz", "history.csv", "logs"]
    files = sorted([*own, "frequency", "time"])
    assert sorted(path.name for path in job_dir.iterdir()) == files


@pytest.mark.slow
def test_kills_while_parents_and_child_train_cost_no_finished_epoch(alone, child, tmp_path, monkeypatch):
    job, whole, _ = alone
    # After the first epoch of the first parent, after that of the second, and once the filters are copied.
    job_dir = shutil.copytree(whole.parent / "killed" / "2", tmp_path / "job")
    for of in ("frequency", ""):
        assert not (job_dir / CHECKPOINT_FILE).exists()
        start = train.unfinished(job, job_dir)
        run_until_save(monkeypatch, 2 if of else 1, job, job_dir, of=of, start=start)
    for name in ("time", "frequency"):
        assert_same_training(job_dir / name, whole / name)
    # The very state from which the unbroken one trains on.
    found = train.unfinished(job, job_dir)
    expected = TrainingState.load(child[1].parent / "killed" / "1" / STATE_FILE)
    assert (found.epoch, found.step, found.variables.keys()) == (0, 0, expected.variables.keys())
    for name, value in expected.variables.items():
        np.testing.assert_array_equal(found.variables[name], value, err_msg=name)


def test_parents_of_another_job_are_not_overwritten_unasked(folds, job_of, parents, tmp_path, monkeypatch):
    shutil.copytree(parents[0], tmp_path / "time")
    job = job_of(folds.path, INIT, SMALL, "--seed=3")
    with pytest.raises(UserError, match=f"^{tmp_path}/time already holds a job; choose another `job_dir`"):
        train.unfinished(job, tmp_path)
    assert train.unfinished(job_of(folds.path), tmp_path) is None
    # As with --overwrite: nothing of it is left.
    run_until_save(monkeypatch, 1, job, tmp_path, of="time")
    assert [path.name for path in (tmp_path / "time").iterdir()] == [STATE_FILE]
    with pytest.raises(UserError, match="holds an unfinished job that differs: seed 3, not 0"):
        train.unfinished(job_of(folds.path, INIT, SMALL), tmp_path)


def test_a_job_does_not_take_the_place_of_its_parent(folds, parents, train_flags, tmp_path):
    (tmp_path / "link").symlink_to(parents[1])
    names = [f"--data_dir={folds.path}", INIT, SMALL, f"--init_from={parents[0]},{parents[1]}", "--overwrite"]
    for job_dir in (parents[0], tmp_path / "link"):
        with pytest.raises(UserError, match=f"^--job_dir={job_dir} is one of --init_from, whose filters are needed"):
            train.main(train_flags(*names, f"--job_dir={job_dir}"), [])


def test_starting_over_takes_the_earlier_jobs_own_parents_away(folds, job_of, tmp_path):
    job_dir = tmp_path / "job"
    alone = [job_dir / name for name in ("time", "frequency")]
    for path in alone:
        path.mkdir(parents=True)
    (job_dir / "predictions.npz").write_text("")
    model = models.create("time", num_classes=3, input_shape=(80, 40, 1))
    job = job_of(folds.path)
    job.save(job_dir)
    model.compile()
    start_over(job, job_dir, model)
    assert not (job_dir / "predictions.npz").exists()
    # They were not the earlier job's.
    assert all(path.is_dir() for path in alone)
    job_of(folds.path, INIT, SMALL).save(job_dir)
    start_over(job, job_dir, model)
    assert not any(path.exists() for path in alone)
