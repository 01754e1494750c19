import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_preprocess.audit import __main__ as main_module
from tfrecords.common import command_line

ROOT = Path(__file__).parents[3]


def run(*arguments):
    """The command in a process of its own, as a person starts it."""
    return subprocess.run(
        [sys.executable, "-m", "beam_preprocess.audit", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def status_of(*arguments):
    """The exit status of the command, through the real parser, in this process."""
    values = main_module.FLAGS
    for name in values:
        values[name].unparse()
    argv = ["audit", *map(str, arguments)]
    with pytest.raises(SystemExit) as stop:
        command_line.run(main_module.main, values, usage=main_module.__doc__, pass_through=True, argv=argv)
    return stop.value.code


def test_help_tells_the_exit_status():
    done = run("--help")
    assert done.returncode == 0
    assert "1 if a recording or a group is in more than one part" in done.stdout
    assert "--split_lists" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--input=DIR"),
        (["--input=/nowhere", "--output=x"], "/nowhere: no such folder"),
        (["--input=a", "--output=b", "--folds=3", "--train_size=0.5"], "--folds excludes"),
        (["--input=a", "--output=b", "--fold=3"], "unknown flag --fold; did you mean --folds?"),
        (["--input=a", "--output=b", "--pictures=-1"], "pictures"),
    ],
)
def test_mistakes_end_in_one_line(arguments, message, capsys):
    assert status_of(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


def lists(folder, train, test):
    """A folder of split lists."""
    folder.mkdir()
    (folder / "train.txt").write_text("\n".join(train))
    (folder / "test.txt").write_text("\n".join(test))
    return folder


def test_a_split_that_tears_a_recording_and_its_artist_leaks(set_with_faults, tmp_path, capsys):
    split = lists(tmp_path / "lists", ["blues/1.wav", "rock/0.wav"], ["blues/copy.mp3", "rock/2.wav"])
    arguments = [f"--input={set_with_faults}", f"--split_lists={split}", f"--output={tmp_path / 'out'}", "--pictures=0"]
    assert status_of(*arguments) == 1
    said = capsys.readouterr()
    assert "blues/1.wav (train) = blues/copy.mp3 (test)" in said.out
    assert "blues/1.wav: 1 in test, 1 in train" in said.out
    assert "the split leaks: 1 recordings and 1 groups are in more than one part" in said.out
    assert "10 tracks are in none of the lists" in said.err
    assert not (tmp_path / "out" / "pairs").exists()


def test_a_split_that_keeps_them_together_does_not(set_with_faults, tmp_path, capsys):
    split = lists(tmp_path / "lists", ["blues/1.wav", "blues/copy.mp3"], ["rock/0.wav", "rock/2.wav"])
    arguments = [f"--input={set_with_faults}", f"--split_lists={split}", f"--output={tmp_path / 'out'}", "--pictures=0"]
    assert status_of(*arguments) == 0
    assert "no leak found" in capsys.readouterr().out


@pytest.mark.parametrize(("groups", "status"), [("auto", 1), ("none", 0)])
def test_artists_of_gtzan_are_known_by_its_file_names(tmp_path, groups, status, capsys):
    rng = np.random.default_rng(0)
    names = ["metal/metal.00058.wav", "rock/rock.00016.wav"]
    for name in names:
        path = tmp_path / "genres" / name
        path.parent.mkdir(parents=True)
        soundfile.write(path, rng.normal(0, 0.1, 661_794), 22050)
    split = lists(tmp_path / "lists", names[:1], names[1:])
    arguments = [f"--input={tmp_path / 'genres'}", f"--split_lists={split}", f"--output={tmp_path / 'out'}"]
    assert status_of(*arguments, f"--groups={groups}") == status
    assert ("Queen: 1 in test, 1 in train" in capsys.readouterr().out) == bool(status)


def test_names_that_are_not_utf8(music, tmp_path, capfd):
    names = ("rock/caf\udce9.wav", "r\udcf6ck/louder caf\udce9.wav", "rock/b.wav", "r\udcf6ck/n\udcf3 audio.wav")
    sounds = (0.4 * music("rock"), music("rock"), music("jazz"), np.zeros(0))
    for name, samples in zip(names, sounds, strict=True):
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            soundfile.write(file, samples, 22050, format="WAV")
    output = tmp_path / "out \udce9"
    assert status_of(f"--input={tmp_path}/music", f"--output={output}", "--folds=2") in (0, 1)
    audit = json.loads((output / "audit.json").read_text("utf-8"))
    (same,) = audit["duplicates"]
    assert {track["track_id"] for track in same["tracks"]} == set(names[:2])
    assert [reject["track_id"] for reject in audit["rejects"]] == [names[3]]
    assert (output / "pairs" / "0001.png").read_bytes().startswith(b"\x89PNG")
    assert "louder caf" in capfd.readouterr().out
