import types

from trainer.training.board import ProfileSteps


def traced(monkeypatch, tmp_path, *, steps, first, last, epochs=1):
    """Number of the step -> what the profiler was told before and after it."""
    told = []
    profiler = types.SimpleNamespace(start=lambda path: told.append(path), stop=lambda: told.append("stop"))
    monkeypatch.setattr("trainer.training.board.tf.profiler.experimental", profiler)
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
