import copy

import pytest

from tools import kill_and_resume_training
from tools.kill_and_resume_training import Batch, differences

# Two epochs of three steps.
EXPECTED = [Batch(place // 3, place % 3, f"digest {place}") for place in range(6)]


@pytest.mark.parametrize(
    "runs",
    [
        [EXPECTED],
        [EXPECTED[:2], EXPECTED[2:]],
        [EXPECTED[:5], EXPECTED[2:4], EXPECTED[3:]],
        [[], EXPECTED],
        [EXPECTED[:2], [], EXPECTED[2:]],
    ],
)
def test_runs_that_go_on_from_a_saved_state(runs):
    assert differences(runs, EXPECTED) == []


@pytest.mark.parametrize(
    ("runs", "problem"),
    [
        ([EXPECTED[:2], EXPECTED[3:]], "run 2: begins at batch 3, the ones before it had done 2"),
        ([EXPECTED[:5]], "5 batches, not 6"),
        ([EXPECTED[:2], [], EXPECTED[3:]], "run 3: begins at batch 3, the ones before it had done 2"),
        (
            [[*EXPECTED[:3], EXPECTED[4], *EXPECTED[4:]]],
            "run 1: another batch than the unbroken job at epoch 1, step 1",
        ),
        ([[Batch(0, 0, "other"), *EXPECTED[1:]]], "run 1: another batch than the unbroken job at epoch 0, step 0"),
        ([EXPECTED, [Batch(9, 9, "x")]], "run 2: another batch than the unbroken job at epoch 9, step 9"),
    ],
)
def test_runs_that_do_not(runs, problem):
    assert problem in differences(runs, EXPECTED)


def test_a_run_that_saved_all_leaves_nothing_to_do_again():
    runs = [EXPECTED[:5], EXPECTED[2:]]
    assert differences(runs, EXPECTED, saved=[1]) == []
    assert differences(runs, EXPECTED, saved=[0]) == ["run 2: begins at batch 2, the ones before it had done 5"]
    assert differences([EXPECTED[:5], [], EXPECTED[5:]], EXPECTED, saved=[0, 1]) == []


def test_an_unbroken_job_that_repeats_a_batch_is_no_measure():
    repeated = [*EXPECTED, EXPECTED[0]]
    assert differences([repeated], repeated) == ["the unbroken job has trained on a batch twice"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["modern", "cbmi2016"])
def test_a_killed_training_ends_as_an_unbroken_one(tmp_path, write_dataset, capsys, recipe):
    data = write_dataset(tmp_path / "data", tracks_per_label=8, frames=(200, 400))
    values = copy.deepcopy(kill_and_resume_training.FLAGS)
    arguments = [f"--recipe={recipe}", "--kills=3", "--epochs=3", "--batch_size=2"]
    values(["", f"--work_dir={tmp_path}/work", f"--data_dir={data.path}", *arguments])
    assert kill_and_resume_training.main(values, []) == 0
    printed = capsys.readouterr().out
    assert printed.count("going on in epoch") >= 2
    assert "in 4 runs: 0 problems\nlosses and weights are equal to the last bit\n" in printed
