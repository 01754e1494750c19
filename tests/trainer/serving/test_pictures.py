import errno

import pytest

from tfrecords.common.command_line import UserError
from trainer.serving import answers
from trainer.serving.answers import Pictures


def test_one_picture_has_the_name_given(tmp_path):
    assert Pictures(str(tmp_path / "new" / "a.png"), 1).write("music/x.ogg", b"1") == tmp_path / "new" / "a.png"
    assert (tmp_path / "new" / "a.png").read_bytes() == b"1"


def test_pictures_in_a_folder_are_named_for_their_files(tmp_path):
    own = Pictures(str(tmp_path / "out"), 3)
    found = [own.write(source, b"1").name for source in ("a/x.y.ogg", "b/X.Y.wav", "b/odd\udcff.wav")]
    assert found == ["x.y.png", "X.Y-2.png", "odd\udcff.png"]
    # A folder may be named like a picture.
    (tmp_path / "f.png").mkdir()
    assert Pictures(str(tmp_path / "f.png"), 2).write("x.ogg", b"1") == tmp_path / "f.png" / "x.png"


@pytest.mark.parametrize("stem", ["x" * 250, "x" * 251, "x" * 255, "é" * 125, "音" * 83, "a" + "🎵" * 62, "é" * 126])
def test_names_too_long_for_a_file_are_shortened_and_stay_apart(tmp_path, stem):
    own = Pictures(str(tmp_path), 12)
    found = [own.write(f"{number}/{stem}.ogg", b"1") for number in range(12)]
    assert sorted(tmp_path.iterdir()) == sorted(found) and len(set(found)) == 12
    for number, path in enumerate(found, 1):
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

    monkeypatch.setattr(answers.tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match=rf"^--png={tmp_path}: {tmp_path} cannot be written to: Permission denied$"):
        Pictures(str(tmp_path), 2)
    with pytest.raises(UserError, match=rf"^--png={tmp_path}/a\.png: {tmp_path} cannot be written to: Permission"):
        Pictures(str(tmp_path / "a.png"), 1)


def test_nothing_is_left_of_the_look_whether_a_folder_can_be_written_to(tmp_path):
    Pictures(str(tmp_path), 2)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be(tmp_path):
    with pytest.raises(UserError, match="one picture, and there are 2 files; name a folder"):
        Pictures(str(tmp_path / "a.png"), 2)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--png=.*cannot be made"):
        Pictures(str(tmp_path / "file"), 2)
