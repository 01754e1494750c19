import ast
import copy
import errno
import json
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from trainer import predict
from trainer.predict import Pictures
from trainer.serving import timeline_plot
from trainer.serving.files import InputFile, list_inputs


def one_hz(path):
    """A WAV whose header says 1 Hz."""
    soundfile.write(path, np.zeros(50_000), 22050)
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", 1)
    path.write_bytes(data)


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """Files that cannot be used, with the line that each gives, and a good one at the end."""
    folder = tmp_path_factory.mktemp("files") / "bad"
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
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["path"] for answer in answers] == [str(folder / name) for name in reasons]
    assert [(answer.get("reason") or "None") for answer in answers] == [
        str(reason).partition(":")[0] for reason in reasons.values()
    ]
    assert answers[-1]["genre"] in recognizer.labels
    assert set(answers[-1]["probabilities"]) == set(recognizer.labels)


def test_pictures_are_drawn(recognizer, bad, tmp_path, capsys):
    folder, _ = bad
    files = list_inputs([str(folder / "whole.flac"), str(folder / "empty.wav")])
    pictures = Pictures(str(tmp_path / "pictures"), len(files))
    assert predict.predict(recognizer, files, pictures=pictures) == 1
    (picture,) = (tmp_path / "pictures").iterdir()
    assert picture.name == "whole.png" and picture.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def no_drawing(monkeypatch):
    """Pictures that are no pictures: drawing takes seconds."""
    monkeypatch.setattr(
        timeline_plot, "timeline_png", lambda title, recognition: title.encode(errors="surrogateescape")
    )


def test_a_picture_that_cannot_be_written_is_one_line_and_the_rest_is_done(
    recognizer, bad, tmp_path, capsys, no_drawing
):
    whole = bad[0] / "whole.flac"
    names = ["a\nb.flac", "c" * 252 + ".au", "d.flac"]
    for name in names:
        (tmp_path / name).hardlink_to(whole)
    # What cannot be replaced by a picture, not by root either.
    (tmp_path / "pictures" / "a\nb.png" / "held").mkdir(parents=True)
    files = list_inputs([str(tmp_path / name) for name in names])
    assert predict.predict(recognizer, files, pictures=Pictures(str(tmp_path / "pictures"), len(files))) == 1
    printed = capsys.readouterr()
    assert [line.startswith(f"{tmp_path}/") for line in printed.out.splitlines()].count(True) == 3
    assert printed.err == f"{tmp_path}/pictures/a\\nb.png cannot be written: Is a directory\n"
    written = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert written == {"a\nb.png", "c" * 251 + ".png", "d.png"}


def test_all_good_is_status_0(recognizer, bad, capsys):
    folder, _ = bad
    assert predict.predict(recognizer, list_inputs([str(folder / "whole.flac")])) == 0
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("count", "is_terminal"), [(11, True), (10, True), (11, False)])
def test_a_long_list_has_a_progress_bar_on_a_terminal(recognizer, bad, capsys, monkeypatch, count, is_terminal):
    files = [InputFile(str(bad[0] / "whole.flac"))] * count
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    assert predict.predict(recognizer, files) == 0
    printed = capsys.readouterr()
    assert printed.out.count("whole.flac: ") == count and "times" not in printed.out
    if count == 11 and is_terminal:
        assert "/11" in printed.err and "times real time" in printed.err
        # Nothing of it stays.
        assert not printed.err.split("\r")[-1].strip()
    else:
        assert printed.err == ""


def test_silence_and_channels_that_cancel_are_no_errors(recognizer, tmp_path, capsys, no_drawing):
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
    values = copy.deepcopy(predict.FLAGS)
    positional = values(["predict", *arguments])[1:]
    with pytest.raises(UserError, match=message):
        predict.main(values, positional)


def test_the_command(trained, bad, capfd):
    folder, _ = bad
    paths = [str(folder / "whole.flac"), "-", "odd\udcff.wav"]
    argv = ["predict", f"--job_dir={trained}", "--json", *paths]
    with pytest.raises(SystemExit) as ended:
        command_line.run(predict.main, copy.deepcopy(predict.FLAGS), usage=predict.__doc__, argv=argv)
    assert ended.value.code == 1
    printed = capfd.readouterr()
    assert [json.loads(line)["path"] for line in printed.out.splitlines()] == paths
    assert printed.err.splitlines() == [
        "-: unreadable: No such file or directory",
        r"odd\udcff.wav: unreadable: No such file or directory",
    ]


def test_a_job_without_confidence_names_the_likeliest_genre_as_before(trained, bad, tmp_path, capsys):
    job_dir = shutil.copytree(trained, tmp_path / "job")
    for name in ("confidence.json", "familiarity.npz"):
        (job_dir / name).unlink()
    path = str(bad[0] / "whole.flac")
    answers = []
    for directory in (trained, job_dir):
        values = copy.deepcopy(predict.FLAGS)
        positional = values(["predict", f"--job_dir={directory}", "--json", path])[1:]
        assert predict.main(values, positional) == 0
        answers.append(json.loads(capsys.readouterr().out))
    told = answers[0].pop("confidence")
    assert answers[0] == answers[1]
    assert told["set"][0] == answers[1]["genre"] and told["probabilities"].keys() == answers[1]["probabilities"].keys()


def test_nothing_that_predict_may_import_needs_beam():
    root = Path(predict.__file__).parent.parent
    folders = ("trainer", "tfrecords", "beam_preprocess/audio")
    paths = [path for name in folders for path in (root / name).rglob("*.py")]
    assert len(paths) > 50
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                package, _, rest = name.partition(".")
                allowed = ("audio", "inputs.tracks.") if path.name == "embed.py" else ("audio",)
                assert package != "apache_beam" and (package != "beam_preprocess" or rest.startswith(allowed)), path


def test_one_picture_has_the_name_given(tmp_path):
    assert Pictures(str(tmp_path / "new" / "a.png"), 1).write("music/x.ogg", b"1") == tmp_path / "new" / "a.png"
    assert (tmp_path / "new" / "a.png").read_bytes() == b"1"


def test_pictures_in_a_folder_are_named_for_their_files(tmp_path):
    pictures = Pictures(str(tmp_path / "out"), 3)
    paths = [pictures.write(source, b"1").name for source in ("a/x.y.ogg", "b/X.Y.wav", "b/odd\udcff.wav")]
    assert paths == ["x.y.png", "X.Y-2.png", "odd\udcff.png"]
    # A folder may be named like a picture.
    (tmp_path / "f.png").mkdir()
    assert Pictures(str(tmp_path / "f.png"), 2).write("x.ogg", b"1") == tmp_path / "f.png" / "x.png"


@pytest.mark.parametrize("stem", ["x" * 250, "x" * 251, "x" * 255, "é" * 125, "音" * 83, "a" + "🎵" * 62, "é" * 126])
def test_names_too_long_for_a_file_are_shortened_and_stay_apart(tmp_path, stem):
    pictures = Pictures(str(tmp_path), 12)
    paths = [pictures.write(f"{number}/{stem}.ogg", b"1") for number in range(12)]
    assert sorted(tmp_path.iterdir()) == sorted(paths) and len(set(paths)) == 12
    for number, path in enumerate(paths, 1):
        beginning, ending = path.name.removesuffix(".png"), f"-{number}" if number > 1 else ""
        assert len(path.name.encode()) <= 255 and beginning.endswith(ending)
        beginning = beginning.removesuffix(ending)
        # As much of the name as there is room for, in whole characters.
        left = stem.removeprefix(beginning)
        assert stem == beginning + left
        assert not left or len(f"{beginning}{left[0]}{ending}.png".encode()) > 255


def test_a_picture_may_have_the_longest_name_there_is(tmp_path):
    path = tmp_path / ("é" * 125 + "x.png")
    assert len(path.name.encode()) == 255
    assert Pictures(str(path), 1).write("a.ogg", b"1") == path
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_name_of_odd_bytes_is_shortened_by_its_bytes(tmp_path):
    name = Pictures(str(tmp_path), 1).write("\udcff" * 254 + ".ogg", b"1").name
    assert name == "\udcff" * 251 + ".png"


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(**where):
        raise PermissionError(errno.EACCES, "Permission denied", *where.values())

    monkeypatch.setattr(predict.tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match=rf"^--png={tmp_path}: {tmp_path} cannot be written to: Permission denied$"):
        Pictures(str(tmp_path), 2)
    with pytest.raises(UserError, match=rf"^--png={tmp_path}/a\.png: {tmp_path} cannot be written to: Permission"):
        Pictures(str(tmp_path / "a.png"), 1)


def test_checking_that_a_folder_can_be_written_to_leaves_nothing(tmp_path):
    Pictures(str(tmp_path), 2)
    assert list(tmp_path.iterdir()) == []


def test_names_that_cannot_hold_pictures(tmp_path):
    with pytest.raises(UserError, match="one picture, and there are 2 files; name a folder"):
        Pictures(str(tmp_path / "a.png"), 2)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"`png=.*` cannot be made"):
        Pictures(str(tmp_path / "file"), 2)


def test_the_published_tags_need_no_job(fake_musicnn, tmp_path, capsys):
    noise = 0.1 * np.random.default_rng(0).normal(size=16_000 * 7)
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    values = copy.deepcopy(predict.FLAGS)
    values(["predict", "--model=musicnn", "--json"])
    assert predict.main(values, [str(tmp_path / "noise.wav")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["probabilities"]) == 50 and len(told["timeline"]) == 2
    assert told["genre"] == max(told["genres"], key=told["probabilities"].__getitem__)
    assert "happy" in told["probabilities"] and "happy" not in told["genres"]
    values["json"].value = False
    assert predict.main(values, [str(tmp_path / "noise.wav")]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{tmp_path}/noise.wav: {told['genre']} ")
    starred = {line.partition(" *")[0].strip() for line in lines if " *" in line}
    assert starred == {tag for tag in told["genres"] if told["probabilities"][tag] >= 0.01}


@pytest.mark.parametrize("flags", [("--model=musicnn", "--job_dir=job"), ("--model=cnn",)])
def test_a_model_in_place_of_a_job_is_the_published_one(flags):
    values = copy.deepcopy(predict.FLAGS)
    values(["predict", *flags])
    with pytest.raises(UserError, match="--job_dir=JOB is needed, or --model=musicnn in its place"):
        predict.main(values, ["file.wav"])
