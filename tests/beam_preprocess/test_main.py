import dataclasses
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from beam_preprocess import __main__ as main_module
from beam_preprocess.audio.front_end import PRESETS
from beam_preprocess.config import JobConfig, SplitConfig
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.manifest import Manifest

ROOT = Path(__file__).parents[2]


def fresh_flags():
    """The command's flags with all values back at their defaults."""
    flag_values = main_module.FLAGS
    for name in flag_values:
        flag_values[name].unparse()
    return flag_values


def config_of(*arguments):
    """The configuration that a command line gives, through the real parser."""
    found = []
    flag_values = fresh_flags()
    with pytest.raises(SystemExit) as stop:
        command_line.run(
            lambda values, _: found.append(main_module.make_config(values)),
            flag_values,
            usage="",
            pass_through=True,
            argv=["beam_preprocess", *arguments],
        )
    assert stop.value.code == 0
    return found[0]


def parsed(*arguments):
    flag_values = fresh_flags()
    flag_values(["beam_preprocess", *arguments])
    return flag_values


def run_here(*arguments):
    """The exit status of the command, through the real parser, in this process."""
    with pytest.raises(SystemExit) as stop:
        command_line.run(
            main_module.main,
            fresh_flags(),
            usage=main_module.__doc__,
            pass_through=True,
            argv=["beam_preprocess", *map(str, arguments)],
        )
    return stop.value.code


def test_help_lists_the_flags(capsys):
    assert run_here("--help") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "python -m beam_preprocess --input=DIR|GLOB|tracks.csv|music.tar.gz --output=OUT" in printed.out
    for flag in ("input", "output", "folds", "split_lists", "preset", "max_reject_fraction", "overwrite"):
        assert f"\n  --{flag}\n" in printed.out


def test_a_wrong_command_is_told_with_those_that_there_are(capfd):
    assert run_here("syntesize") == 2
    assert re.fullmatch(r"error: 'syntesize'.*beam_preprocess\.synthesize\n", capfd.readouterr().err)


def test_a_dataset_and_another_one_in_its_place(clips, tmp_path, capfd):
    # In a process of its own, as a person starts it.
    done = subprocess.run(
        [sys.executable, "-m", "beam_preprocess", f"--input={clips}", f"--output={tmp_path}/out/", "--folds=2",
         "--direct_num_workers", "1"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr
    assert not re.search("warning", done.stderr, re.IGNORECASE)
    assert Manifest.load(tmp_path / "out").name == "music"
    assert run_here(f"--input={clips}", f"--output={tmp_path}/out", "--folds=3") == 2
    assert "already holds another dataset" in capfd.readouterr().err


def test_an_archive_with_a_relative_output(clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with tarfile.open("x.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(clips, "music")
    assert run_here("--input=x.tar.gz", "--output=out", "--folds=2", "--direct_num_workers=1") == 0
    assert sum(Manifest.load(tmp_path / "out").tracks(["all"]).values()) == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--input=DIR|GLOB|tracks.csv|music.tar.gz and --output=DIR are needed"),
        (["--input={music}"], "--input=DIR|GLOB|tracks.csv|music.tar.gz and --output=DIR are needed"),
        (["--input={tmp}/missing", "--output={out}"], "no such folder"),
        (["--input={tmp}/empty", "--output={out}"], "no audio file in this folder"),
        (["--input={music}/jazz", "--output={out}", "--folds=2"], "only one label, 'jazz'"),
        (["--input={music}", "--output={out}", "--folds=x"], "--folds"),
        (
            ["--input={music}", "--output={out}", "--label_folder=up"],
            "--label_folder must be one of parent, top, got 'up'",
        ),
        (
            ["--input=x.csv", "--output={out}", "--label_folder=top"],
            "--label_folder is for folders; for a CSV, --label_column names",
        ),
        (
            ["--input={music}/jazz", "--output={out}", "--label_folder=top"],
            "jazz.00000.wav is in no folder below {music}/jazz",
        ),
        (["--input={tmp}/no.tar.gz", "--output={out}"], "no.tar.gz: cannot be read: "),
        (["--input={music}", "--output={out}", "--folds=1"], "--folds must be at least 2, got 1"),
        (["--input={music}", "--output={out}", "--folds=13"], "12 groups cannot be split into 13 parts"),
        (["--input={music}", "--output={out}", "--fold=5"], "unknown flag --fold; did you mean --folds?"),
        (
            ["--input={music}", "--output={out}", "--preset=foo"],
            "--preset must be one of cbmi2016, librosa, musicnn, got 'foo'",
        ),
        (
            ["--input={music}", "--output={out}", "--hop_length=0"],
            "--hop_length must be from 1 to --frame_length",
        ),
        (["--input={music}", "--output={out}", "--n_mels=400"], "--n_mels=400: band "),
        (["--input={music}", "--output={out}", "--train_size=2"], "--train_size must be between 0 and 1, got 2.0"),
        (
            ["--input={music}", "--output={out}", "--split_lists={tmp}"],
            "no .txt file there; expected train.txt, valid.txt, test.txt (or",
        ),
        (["--input={music}", "--output={out}", "music"], "unexpected argument 'music'"),
        (["--input"], "--input"),
    ],
)
def test_mistakes_end_in_one_line_and_status_2(clips, tmp_path, capfd, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {"music": clips, "tmp": tmp_path, "out": tmp_path / "out"}
    assert run_here(*(argument.format(**places) for argument in arguments)) == 2
    printed = capfd.readouterr().err
    (error,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert message.format(**places) in error
    assert "Traceback" not in printed
    assert not (tmp_path / "out").exists()


def test_flags_become_the_configuration():
    config = config_of(
        "--input=/data/My Music/", "--output=/out/", "--preset=librosa", "--hop_length=256", "--record_dtype=float32",
        "--train_size=0.7", "--valid_size=0.1", "--seed=3",
        "--num_shards=7", "--min_frames=10", "--max_duration_s=5", "--max_reject_fraction=0.5",
        "--label_folder=top", "--max_archive_bytes=1000",
    )  # fmt: skip
    assert (config.source, config.output, config.name) == ("/data/My Music/", "/out", "my_music")
    assert config.front_end.hop_length == 256
    assert config.front_end.n_mels == PRESETS["librosa"].n_mels
    assert config.record_dtype == "float32"
    assert (config.split.train_size, config.split.valid_size, config.split.seed) == (0.7, 0.1, 3)
    assert config.num_shards == 7
    assert (config.min_frames, config.max_duration_s, config.max_reject_fraction) == (10, 5.0, 0.5)
    assert (config.label_folder, config.max_archive_bytes) == ("top", 1000)


def test_columns_are_for_lists():
    columns = ("--label_column=style", "--group_column=band")
    config = config_of("--input=tracks.csv", "--output=out", *columns)
    assert (config.label_column, config.group_column) == ("style", "band")
    for column in columns:
        with pytest.raises(UserError, match=r"are for a \.csv"):
            main_module.make_config(parsed("--input=music", "--output=out", column))


def test_folds_exclude_the_other_splits():
    with pytest.raises(UserError, match="--folds excludes"):
        main_module.make_config(parsed("--input=in", "--output=out", "--folds=5", "--train_size=0.8"))


def test_labels_made_one_and_parts_by_folders():
    config = config_of("--input=in", "--output=out", "--merge_labels", "--split_folders")
    assert (config.merge_labels, config.split.split_folders) == (True, True)
    config = config_of("--input=in", "--output=out")
    assert (config.merge_labels, config.split.split_folders) == (False, False)
    with pytest.raises(UserError, match="--folds excludes"):
        main_module.make_config(parsed("--input=in", "--output=out", "--folds=5", "--split_folders"))


def test_mistakes_name_flags():
    # The source is --input, and missing it is told before.
    fields = {field.name for config in (JobConfig, SplitConfig) for field in dataclasses.fields(config)}
    assert fields - {"source", "front_end", "split", "needs_labels"} <= set(main_module.FLAGS)
    with pytest.raises(UserError, match=r"^`record_dtype` must be one of float16, float32, got 'int8'$"):
        main_module.make_config(parsed("--input=in", "--output=out", "--record_dtype=int8"))


def test_every_field_of_the_front_end_is_a_flag():
    changes = {
        "sample_rate": 16000, "frame_length": 512, "hop_length": 160, "window": "hann",
        "n_mels": 30, "fmin_hz": 60.0, "fmax_hz": 7600.0, "compression": "db",
    }  # fmt: skip
    config = config_of("--input=in", "--output=out", *(f"--{name}={value}" for name, value in changes.items()))
    assert vars(config.front_end) == changes


def test_a_lower_sample_rate_lowers_the_highest_band():
    assert config_of("--input=in", "--output=out", "--sample_rate=16000").front_end.fmax_hz == 8000
    assert config_of("--input=in", "--output=out", "--sample_rate=44100").front_end.fmax_hz == 11025


def test_the_root_folder_can_be_named_as_output():
    assert config_of("--input=in", "--output=/").output == "/"
