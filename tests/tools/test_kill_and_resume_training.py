import pytest

from tools import kill_and_resume_training


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["modern", "cbmi2016"])
def test_a_killed_training_ends_as_an_unbroken_one(tmp_path, write_dataset, run, recipe):
    data = write_dataset(tmp_path / "data", tracks_per_label=8, frames=(200, 400))
    flags = (f"--recipe={recipe}", "--kills=3", "--epochs=3", "--batch_size=2")
    status, printed = run(kill_and_resume_training, f"--work_dir={tmp_path}/work", f"--data_dir={data.path}", *flags)
    assert status == 0
    assert printed.count("going on in epoch") >= 2
    assert "in 4 runs: 0 problems\nlosses and weights are equal to the last bit\n" in printed
