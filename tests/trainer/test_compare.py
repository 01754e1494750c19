import copy
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer import compare, training_job
from trainer.evaluation.pooling import PooledPredictions

ROOT = Path(__file__).parents[2]


def main(*arguments):
    values = copy.deepcopy(compare.FLAGS)
    values.set_gnu_getopt(True)
    compare.main(values, values(["compare", *map(str, arguments)])[1:])


@pytest.fixture
def cv_dirs(tmp_path, write_cv):
    models = {"time": 0.5, "black_box": 0.7}
    return [
        write_cv(tmp_path / recipe, models, recipe=recipe, seed=seed, seeds=range(3 - 2 * seed), core_seconds=9.0)
        for seed, recipe in enumerate(("modern", "cbmi2016"))
    ]


@pytest.fixture
def output_dir(tmp_path):
    return tmp_path / "new" / "out"


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_what_comes_out(cv_dirs, output_dir, capsys):
    one, other = cv_dirs
    against = ("--against=time, cbmi2016", "--against=time, modern")
    main(f"--job_dirs={one},{other}", f"--output_dir={output_dir}", "--nopredictions", *against)
    found = json.loads((output_dir / "compare.json").read_text())
    assert list(found["entries"]) == ["time, modern", "black_box, modern", "time, cbmi2016", "black_box, cbmi2016"]
    assert len(found["comparisons"]) == 6
    command = (
        f"python -m trainer.compare --job_dirs={one},{other} --output_dir={output_dir} "
        "'--against=time, cbmi2016' '--against=time, modern' --nopredictions"
    )
    assert sorted(found["command"].split()) == sorted(command.split())
    assert f"\n{found['command']}\n" in (output_dir / "compare.md").read_text()
    assert (output_dir / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in output_dir.iterdir()) == ["compare.json", "compare.md", "compare.png"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model ") and lines[1].startswith("time, modern ")
    assert lines[-2:] == [f"tables: {output_dir}/compare.md", f"picture: {output_dir}/compare.png"]


def test_another_process_writes_there(cv_dirs, output_dir):
    output_dir.mkdir(parents=True)
    message = f"^{output_dir}: another process is writing there$"
    with training_job.lock_job_dir(output_dir), pytest.raises(UserError, match=message):
        main(f"--job_dirs={cv_dirs[0]}", f"--output_dir={output_dir}", "--nopredictions")
    assert list(output_dir.iterdir()) == []


def test_nothing_that_was_predicted_of_tracks_left_out_is_in_any_figure(cv_dirs, output_dir, tmp_path):
    track_ids = PooledPredictions.load(cv_dirs[0] / "predictions.npz").track_ids
    left_out = [*track_ids[2:4], *track_ids[9:12]]
    (tmp_path / "list.txt").write_text("\n".join(left_out) + "\n")
    flags = [f"--job_dirs={','.join(map(str, cv_dirs))}", f"--output_dir={output_dir}", "--nopredictions"]
    main(*flags, f"--leave_out={tmp_path / 'list.txt'}")
    before = contents(output_dir)
    rng = np.random.default_rng(5)
    for cv_dir in cv_dirs:
        path = cv_dir / "predictions.npz"
        pooled = PooledPredictions.load(path)
        probabilities = pooled.probabilities.copy()
        places = [track_ids.index(track_id) for track_id in left_out]
        probabilities[:, :, places] = rng.dirichlet((1, 1), (*probabilities.shape[:2], len(places)))
        assert (probabilities.argmax(axis=3) != pooled.probabilities.argmax(axis=3)).any()
        dataclasses.replace(pooled, probabilities=probabilities).save(path)
    main(*flags, f"--leave_out={tmp_path / 'list.txt'}")
    assert contents(output_dir) == before
    # They do count where they are scored.
    main(*flags)
    assert contents(output_dir)["compare.json"] != before["compare.json"]


def test_artists_of_whom_only_some_tracks_are_left_out_are_told(cv_dirs, output_dir, tmp_path):
    flags = [f"--job_dirs={cv_dirs[0]}", f"--output_dir={output_dir}", "--nopredictions"]
    lists = {"whole": "0/2\n0/3\n1/2\n1/3\n", "torn": "0/2\n"}
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        main(*flags, f"--leave_out={tmp_path / name}")
        told = (
            "- warning: of 1 artists or other groups some tracks are left out and others are scored, as of 'artist 1'"
        )
        assert (told in (output_dir / "compare.md").read_text("utf-8").splitlines()) == (name == "torn")


def test_speeds_are_measured_unless_told_otherwise(cv_dirs, output_dir, monkeypatch):
    monkeypatch.setattr(
        "trainer.evaluation.entries.predictions_per_s",
        lambda entries: {entry.name: [100.0 + number, 90.0, 200.0] for number, entry in enumerate(entries)},
    )
    main(f"--job_dirs={cv_dirs[0]}", f"--output_dir={output_dir}")
    found = json.loads((output_dir / "compare.json").read_text())["entries"]
    assert [entry["predictions_per_s"]["median"] for entry in found.values()] == [100, 101]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"--job_dirs=CV1,CV2,... and --output_dir=DIR are needed"),
        (["--job_dirs={one}"], r"--job_dirs=CV1,CV2,... and --output_dir=DIR are needed"),
        (["--job_dirs={one},{tmp}", "--output_dir={out}"], "no results.json, so no finished cross-validation"),
        (["--job_dirs={one},{one}", "--output_dir={out}"], "both have time, trained with the same settings"),
        (
            ["--job_dirs={one}", "--output_dir={out}", "--leave_out={tmp}/gone"],
            r"^`leave_out=.*gone` cannot be read: No such file",
        ),
        (["--job_dirs={one}", "--output_dir={out}", "--leave_out="], r"^`leave_out=\.` cannot be read: Is a directory"),
        (
            ["--job_dirs={one}", "--output_dir={out}", "--against=tiem"],
            "^`against` must be one of 'time'; 'black_box'; got 'tiem'",
        ),
        (
            ["--job_dirs={one}", "--output_dir={out}", "--leave_out={one}/results.json"],
            "^`leave_out` must name tracks that give",
        ),
        (["--job_dirs={one}", "--output_dir={out}", "more"], "unexpected argument 'more'"),
        (["--job_dirs={one}", "--output_dir={one}/results.json/x"], "`output_dir=.*` cannot be made: Not a directory"),
    ],
)
def test_mistakes_on_the_command_line(cv_dirs, output_dir, tmp_path, arguments, message):
    places = {"one": cv_dirs[0], "tmp": tmp_path, "out": output_dir}
    with pytest.raises(UserError, match=message):
        main(*(argument.format(**places) for argument in arguments), "--nopredictions")
    assert not output_dir.exists()


def test_a_mistake_is_one_line_and_needs_no_tensorflow(cv_dirs, output_dir):
    program = (
        "import sys; from tfrecords.common import command_line; from trainer import compare\n"
        "try: command_line.run(compare.main, compare.FLAGS, usage='')\n"
        "finally: print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    flags = [f"--job_dirs={cv_dirs[0]}", f"--output_dir={output_dir}", "--against=tiem"]
    done = subprocess.run(
        [sys.executable, "-c", program, *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert done.stderr == "error: --against must be one of 'time'; 'black_box'; got 'tiem'\n"
