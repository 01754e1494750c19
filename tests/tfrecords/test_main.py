import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tfrecords import __main__ as program
from tfrecords.common.command_line import UserError

ROOT = Path(__file__).parents[2]


def run(*arguments):
    values = copy.deepcopy(program.FLAGS)
    values.set_gnu_getopt(True)
    return program.main(values, values(["tfrecords", *map(str, arguments)])[1:])


def run_program(*arguments):
    command = [sys.executable, "-m", "tfrecords", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_info(own, capsys):
    assert run("info", own.path) == 0
    output = capsys.readouterr().out
    assert output.startswith("tiny: 18 records in 6 shards")
    assert output.splitlines()[-1].split() == ["all", "6", "6", "6", "18"]


def test_verify_a_sound_dataset(own, capsys):
    assert run("verify", own.path) == 0
    assert capsys.readouterr().out == f"{own.path}: 18 records in 6 shards are as the manifest says\n"


def test_verify_a_damaged_dataset(own, capsys):
    first, second = own.shards("fold_1")
    first.unlink()
    assert run("verify", own.path) == 1
    assert capsys.readouterr().out == f"{first}: missing\n1 problem; write the dataset again\n"
    os.truncate(second, 10)
    assert run("verify", own.path) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 problems; write the dataset again"


def test_show_draws_the_tracks_asked_for(own, tmp_path, capsys):
    picture = tmp_path / "grid.png"
    assert run("show", own.path, f"--png={picture}", "--parts=fold_0,fold_2", "--tracks=2") == 0
    assert capsys.readouterr().out == f"wrote 2 spectrograms to {picture}\n"
    assert min(Image.open(picture).size) > 200


def test_show_draws_what_an_augmentation_makes_of_patches(tiny, tmp_path, capsys):
    picture, plain = tmp_path / "augmented.png", tmp_path / "plain.png"
    assert run("show", tiny.path, f"--png={picture}", "--tracks=2", "--augment=time_masks=1,mixup_alpha=0.4") == 0
    assert run("show", tiny.path, f"--png={plain}", "--tracks=5") == 0
    output = capsys.readouterr().out.splitlines()
    assert output == [f"wrote 10 patches to {picture}", f"wrote 5 spectrograms to {plain}"]
    assert Image.open(picture).size[1] > 1.5 * Image.open(plain).size[1]


def test_an_augmentation_that_is_none(tiny, tmp_path):
    with pytest.raises(UserError, match="no augmentation is called 'masks'; there are gain_db, equalizer_db,"):
        run("show", tiny.path, f"--png={tmp_path}/grid.png", "--augment=masks=1")
    assert not (tmp_path / "grid.png").exists()


def test_show_without_tracks_is_an_error(tmp_path, write_dataset):
    data = write_dataset(tmp_path / "empty", tracks_per_label=0)
    with pytest.raises(UserError, match="no tracks in valid, test, so nothing to show"):
        run("show", data.path, "--parts=valid,test", f"--png={tmp_path}/grid.png")
    assert not (tmp_path / "grid.png").exists()


def test_a_picture_that_cannot_be_written(own, tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path}/no/grid.png cannot be written: No such file or directory"):
        run("show", own.path, f"--png={tmp_path}/no/grid.png", "--tracks=1")


@pytest.mark.parametrize("arguments", [[], ["info"], ["inform", "x"], ["info", "x", "y"]])
def test_a_command_line_that_is_none(arguments):
    with pytest.raises(UserError, match="expected info, verify, show and a directory, got "):
        run(*arguments)


def test_a_mistake_ends_in_one_line_and_status_2(tmp_path):
    done = run_program("info", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path}: no manifest.json") and len(done.stderr.splitlines()) == 1


def test_a_damaged_dataset_ends_in_status_1(own):
    own.shards("fold_0")[0].unlink()
    done = run_program("verify", own.path)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_picture_for_which_there_is_no_room_leaves_the_one_before(tiny, tmp_path):
    (tmp_path / "grid.png").write_bytes(b"one before")
    code = (
        "import resource, sys; from tfrecords import __main__ as program; from tfrecords.common import command_line; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)); "
        "command_line.run(program.main, program.FLAGS, usage='')"
    )
    arguments = ["show", str(tiny.path), f"--png={tmp_path}/grid.png", "--tracks=1"]
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"error: {tmp_path}/grid.png cannot be written: File too large\n")
    assert (tmp_path / "grid.png").read_bytes() == b"one before"
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]
