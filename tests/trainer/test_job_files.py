import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer.training_job import HISTORY_FILE, lock_job_dir, read_history, write_history

ROOT = Path(__file__).parents[2]


def test_history(tmp_path):
    assert read_history(tmp_path) == {}
    path = tmp_path / HISTORY_FILE
    path.write_text("")
    assert read_history(tmp_path) == {}
    path.write_text("epoch,loss,val_loss\n0,1.5,nan\n1,0.25,2.0\n")
    history = read_history(tmp_path)
    assert history["loss"] == [1.5, 0.25] and history["epoch"] == [0, 1] and history["val_loss"][1] == 2
    assert np.isnan(history["val_loss"][0])


@pytest.mark.parametrize("torn", ["1,0.25,2", "1,0.", "1", ""])
def test_an_epoch_that_was_not_written_to_its_end_is_left_out(tmp_path, torn):
    (tmp_path / HISTORY_FILE).write_text(f"epoch,loss,val_loss\n0,1.5,1.25\n{torn}")
    assert read_history(tmp_path) == {"epoch": [0], "loss": [1.5], "val_loss": [1.25]}


@pytest.mark.parametrize("text", ["epoch,loss\n0,much\n", "epoch,loss\n0\n", "epoch\n0,1\n", b"\xff\n\xff\n"])
def test_a_damaged_history(tmp_path, text):
    path = tmp_path / HISTORY_FILE
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=f"^{path}: not the history of a training"):
        read_history(tmp_path)


def test_history_is_written_as_it_is_read(tmp_path):
    write_history(tmp_path, [])
    assert read_history(tmp_path) == {}
    write_history(tmp_path, [{"val_loss": 0.1 + 0.2, "loss": 1.5}, {"val_loss": 2.0, "loss": 0.25}])
    assert (tmp_path / HISTORY_FILE).read_text().splitlines()[0] == "epoch,loss,val_loss"
    assert read_history(tmp_path) == {"epoch": [0, 1], "loss": [1.5, 0.25], "val_loss": [0.1 + 0.2, 2]}


def test_a_directory_is_claimed_by_one_process_until_it_ends(tmp_path):
    imports = "import pathlib, time\nfrom trainer.training_job import lock_job_dir\n"
    block = f"with lock_job_dir(pathlib.Path({str(tmp_path)!r})):\n print('claimed', flush=True)\n time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", imports + block], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "claimed\n"
    with pytest.raises(UserError, match=f"^{tmp_path}: another process is writing there$"), lock_job_dir(tmp_path):
        pass
    process.kill()
    process.communicate()
    # As a process leaves it that is killed while it writes.
    (tmp_path / ".tmp-01234567-state.npz").touch()
    with lock_job_dir(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
