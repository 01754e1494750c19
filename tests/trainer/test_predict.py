import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from tfrecords.common.command_line import UserError
from trainer import predict
from trainer.serving.answers import Pictures
from trainer.serving.files import list_inputs
from trainer.serving.recognizer import Recognizer


@pytest.fixture(scope="module")
def recognizer(trained):
    return Recognizer.load(trained)


def one_hz(path):
    """A WAV whose header says 1 Hz."""
    soundfile.write(path, np.zeros(50_000), 22050)
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", 1)
    path.write_bytes(data)


@pytest.fixture
def bad(tmp_path):
    """Files that cannot be used, with the line that each gives, and a good one at the end."""
    folder = tmp_path / "bad"
    (folder / "no audio").mkdir(parents=True)
    noise = 0.1 * np.random.default_rng(0).normal(size=66_150)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.mp3").write_text("this is text\n" * 100)
    soundfile.write(folder / "whole.flac", noise, 22050)
    (folder / "cut.flac").write_bytes((folder / "whole.flac").read_bytes()[:40_000])
    soundfile.write(folder / "nan.wav", np.full(50_000, np.nan), 22050, "FLOAT")
    soundfile.write(folder / "no samples.wav", noise[:0], 22050)
    soundfile.write(folder / "short.wav", noise[:20_000], 22050)
    one_hz(folder / "one hz.wav")
    soundfile.write(folder / "long.wav", np.zeros(8000 * 11), 8000)
    reasons = {
        "empty.wav": "empty: 0 bytes",
        "text.mp3": "undecodable",
        "cut.flac": "truncated",
        "nan.wav": "not_finite",
        "no samples.wav": "empty: no samples",
        "short.wav": "too_short: 0.91 s, at least 1.83 s",
        "one hz.wav": "unsupported_rate: 1 Hz",
        "long.wav": "too_long: more than 10 s",
        "missing.wav": "unreadable: No such file or directory",
        "odd\udcff\n.wav": "unreadable: No such file or directory",
        "no audio": "unreadable: a folder without audio",
        "whole.flac": None,
    }
    return folder, reasons


def test_each_bad_file_is_one_line_and_the_rest_is_done(recognizer, bad, capsys):
    folder, reasons = bad
    files = list_inputs([str(folder / name) for name in reasons])
    status = predict.predict(recognizer, files, max_duration_s=10)
    printed = capsys.readouterr()
    assert status == 1
    assert printed.out.startswith(f"{folder}/whole.flac: ")
    lines = printed.err.splitlines()
    expected = [(name, reason) for name, reason in reasons.items() if reason]
    assert len(lines) == len(expected)
    for line, (name, reason) in zip(lines, expected, strict=True):
        shown = name.replace("\udcff", r"\udcff").replace("\n", r"\n")
        assert line.startswith(f"{folder}/{shown}: {reason}")


def test_json_has_a_line_for_each_file_in_order(recognizer, bad, capsys):
    folder, reasons = bad
    files = list_inputs([str(folder / name) for name in reasons])
    predict.predict(recognizer, files, as_json=True, max_duration_s=10)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["path"] for answer in found] == [str(folder / name) for name in reasons]
    assert [(answer.get("reason") or "None") for answer in found] == [
        str(reason).partition(":")[0] for reason in reasons.values()
    ]
    assert found[-1]["genre"] in recognizer.labels
    assert set(found[-1]["probabilities"]) == set(recognizer.labels)


def test_pictures_are_drawn(recognizer, bad, tmp_path, capsys):
    folder, _ = bad
    files = list_inputs([str(folder / "whole.flac"), str(folder / "empty.wav")])
    pictures = Pictures(str(tmp_path / "pictures"), len(files))
    assert predict.predict(recognizer, files, pictures=pictures) == 1
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["whole.png"]


def test_a_picture_that_cannot_be_written_is_one_line_and_the_rest_is_done(recognizer, bad, tmp_path, capsys):
    whole = bad[0] / "whole.flac"
    names = ["a\nb.flac", "c" * 252 + ".au", "d.flac"]
    for name in names:
        (tmp_path / name).hardlink_to(whole)
    # What cannot be replaced by a picture, not by root either.
    (tmp_path / "pictures" / "a\nb.png" / "held").mkdir(parents=True)
    files = list_inputs([str(tmp_path / name) for name in names])
    assert predict.predict(recognizer, files, pictures=Pictures(str(tmp_path / "pictures"), len(files))) == 1
    said = capsys.readouterr()
    assert [line.startswith(f"{tmp_path}/") for line in said.out.splitlines()].count(True) == 3
    assert said.err == f"{tmp_path}/pictures/a\\nb.png cannot be written: Is a directory\n"
    found = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert found == {"a\nb.png", "c" * 251 + ".png", "d.png"}


def test_all_good_is_status_0(recognizer, bad, capsys):
    folder, _ = bad
    assert predict.predict(recognizer, list_inputs([str(folder / "whole.flac")])) == 0
    assert not capsys.readouterr().err


def test_silence_and_channels_that_cancel_are_no_errors(recognizer, tmp_path, capsys):
    noise = 0.1 * np.random.default_rng(0).normal(size=66_150)
    soundfile.write(tmp_path / "silence.wav", np.full(66_150, 0.5), 22050)
    soundfile.write(tmp_path / "cancels.wav", np.stack([noise, -noise], axis=1), 22050)
    files = list_inputs([str(tmp_path / name) for name in ("silence.wav", "cancels.wav")])
    assert predict.predict(recognizer, files, pictures=Pictures(str(tmp_path / "pictures"), 2)) == 0
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{tmp_path}/silence.wav: silent: no genre"
    assert second.startswith(f"{tmp_path}/cancels.wav: ")
    assert third.startswith("  channels cancel: ")
    assert len(list((tmp_path / "pictures").iterdir())) == 2
    assert predict.predict(recognizer, files, as_json=True) == 0
    silent, cancels = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (silent["genre"], silent["probabilities"], silent["note"]) == (None, None, "silent")
    assert silent["duration_s"] == 3
    assert (cancels["genre"] in recognizer.labels, cancels["note"]) == (True, "channels cancel")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--job_dir=JOB and one or more files"),
        (("--job_dir=nowhere",), "--job_dir=JOB and one or more files"),
        (("--job_dir=nowhere", "a.wav"), "no config.json, so no trained model"),
        (("--job_dir=nowhere", "--max_duration_s=0", "a.wav"), "--max_duration_s must be above 0, got 0"),
        (("--job_dir=nowhere", "--max_duration_s=nan", "a.wav"), "--max_duration_s must be above 0, got nan"),
        (("--job_dir=nowhere", "--png=", "a.wav"), "--png must name a file that ends with .png, or a folder"),
    ],
)
def test_mistakes(arguments, message):
    values = predict.FLAGS
    values.unparse_flags()
    for name in values:
        values[name].unparse()
    positional = values(["predict", *arguments])[1:]
    with pytest.raises(UserError, match=message):
        predict.main(values, positional)


def test_the_command(trained, bad):
    folder, _ = bad
    code = (
        "import sys, runpy; sys.argv[0] = 'predict'\n"
        "try:\n    runpy.run_module('trainer.predict', run_name='__main__')\n"
        "finally:\n    print('apache_beam' in sys.modules)\n"
    )
    files = [str(folder / "whole.flac"), "-", b"odd\xff.wav"]
    command = [sys.executable, "-c", code, f"--job_dir={trained}", "--json", *files]
    done = subprocess.run(command, capture_output=True, timeout=600, check=False)
    assert done.returncode == 1
    *lines, beam = done.stdout.decode().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [str(folder / "whole.flac"), "-", "odd\udcff.wav"]
    assert beam == "False"
    assert done.stderr.decode().splitlines() == [
        "-: unreadable: No such file or directory",
        r"odd\udcff.wav: unreadable: No such file or directory",
    ]
