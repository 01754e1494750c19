import io
import resource
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrecords.common.command_line import UserError
from trainer.training.callbacks import save_model
from trainer.training.progress import Pace
from trainer.training.tensorboard import Board, ConfusionPicture, ProfileSteps

LOGS = {"loss": 2.0, "accuracy": 0.25, "val_loss": 1.5, "val_accuracy": 0.5}


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.125), "mse")
    return model


def test_an_epochs_numbers_are_there_at_its_end(model, read_events, tmp_path):
    paces = iter([None, Pace(1000.0, 0.25)])
    board = Board(tmp_path, types.SimpleNamespace(pace=lambda: next(paces)))
    board.set_model(model)
    for epoch in (4, 5):
        board.on_epoch_end(epoch, LOGS)
    assert read_events(tmp_path / "logs" / "train") == {
        "epoch_loss": [(4, 2.0), (5, 2.0)],
        "epoch_accuracy": [(4, 0.25), (5, 0.25)],
        "epoch_learning_rate": [(4, 0.125), (5, 0.125)],
        "patches_per_s": [(5, 1000.0)],
        "waiting_share": [(5, 0.25)],
    }
    assert read_events(tmp_path / "logs" / "validation") == {
        "epoch_loss": [(4, 1.5), (5, 1.5)],
        "epoch_accuracy": [(4, 0.5), (5, 0.5)],
    }


def test_without_validation_there_is_nothing_of_it(model, read_events, tmp_path):
    board = Board(tmp_path, types.SimpleNamespace(pace=lambda: None), validates=False)
    board.set_model(model)
    board.on_epoch_end(0, {"loss": 2.0, "accuracy": 0.25})
    assert board.validation is None
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["train"]
    assert read_events(tmp_path / "logs" / "train")["epoch_loss"] == [(0, 2.0)]


def test_the_best_epochs_have_a_picture_and_the_one_that_is_kept_always(tiny, job_of, read_events, tmp_path):
    job = job_of(tiny.path)
    model = keras.Sequential(
        [keras.Input((80, 40, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax", name="dense")]
    )
    model.stop_training = False
    writer, history = tf.summary.create_file_writer(str(tmp_path / "logs")), []
    pictures = ConfusionPicture(job, tmp_path, history, writer)
    pictures.set_model(model)
    job.save(tmp_path)
    save_model(model, tmp_path / "best.keras")
    # The second is too soon, the third is no better.
    for epoch, loss in enumerate((3.0, 2.0, 2.5)):
        history.append({"val_loss": loss})
        pictures.on_epoch_end(epoch)
    pictures.on_train_end()
    assert [step for step, _ in read_events(tmp_path / "logs")["confusion_matrix"]] == [0]
    model.stop_training = True
    pictures.on_train_end()
    pictures.on_train_end()
    drawn = read_events(tmp_path / "logs")["confusion_matrix"]
    assert [step for step, _ in drawn] == [0, 1]
    for _, png in drawn:
        assert np.ptp(np.asarray(Image.open(io.BytesIO(png)).convert("L"))) > 100


def test_a_log_that_cannot_be_written_is_one_line(model, tmp_path):
    pace = types.SimpleNamespace(pace=lambda: None)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train").write_text("")
    with pytest.raises(UserError, match=f"^{tmp_path}/logs cannot be written: [Nn]ot a directory$"):
        Board(tmp_path, pace)
    (tmp_path / "logs" / "train").unlink()
    board = Board(tmp_path, pace, validates=False)
    board.set_model(model)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        with pytest.raises(UserError, match=f"^{tmp_path}/logs cannot be written: .+"):
            for epoch in range(10):
                board.on_epoch_end(epoch, LOGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def traced(monkeypatch, tmp_path, *, steps, first, last, epochs=1):
    """Number of the step -> what the profiler was told before and after it."""
    told = []
    profiler = types.SimpleNamespace(start=lambda path: told.append(path), stop=lambda: told.append("stop"))
    monkeypatch.setattr("trainer.training.tensorboard.tf.profiler.experimental", profiler)
    callback = ProfileSteps(tmp_path, first, last)
    moments = {}
    for step in range(1, steps * epochs + 1):
        for moment, event in (("before", callback.on_train_batch_begin), ("after", callback.on_train_batch_end)):
            event((step - 1) % steps)
            if told:
                moments[step, moment] = told.pop()
    callback.close()
    callback.close()
    return moments | ({"end": told.pop()} if told else {})


def test_steps_are_counted_over_epochs(monkeypatch, tmp_path, capsys):
    found = traced(monkeypatch, tmp_path, steps=4, epochs=3, first=3, last=6)
    assert found == {(3, "before"): f"{tmp_path}/logs", (6, "after"): "stop"}
    assert capsys.readouterr().out == f"steps 3 to 6 are traced, in {tmp_path}/logs\n"


def test_one_step_alone(monkeypatch, tmp_path):
    assert traced(monkeypatch, tmp_path, steps=4, first=2, last=2) == {
        (2, "before"): f"{tmp_path}/logs",
        (2, "after"): "stop",
    }


def test_a_training_that_ends_before_ends_the_trace(monkeypatch, tmp_path, capsys):
    assert traced(monkeypatch, tmp_path, steps=4, first=3, last=99) == {
        (3, "before"): f"{tmp_path}/logs",
        "end": "stop",
    }
    assert "steps 3 to 4 are traced" in capsys.readouterr().out
    assert traced(monkeypatch, tmp_path, steps=4, first=9, last=99) == {}
