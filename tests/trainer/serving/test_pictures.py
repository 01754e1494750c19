import pytest

from tfrecords.command_line import UserError
from trainer.serving.pictures import Pictures


def test_one_picture_has_the_name_given(tmp_path):
    assert Pictures(str(tmp_path / "new" / "a.png"), 1).write("music/x.ogg", b"1") == tmp_path / "new" / "a.png"
    assert (tmp_path / "new" / "a.png").read_bytes() == b"1"


def test_pictures_in_a_folder_are_named_for_their_files(tmp_path):
    pictures = Pictures(str(tmp_path / "out"), 3)
    found = [pictures.write(source, b"1").name for source in ("a/x.y.ogg", "b/X.Y.wav", "b/odd\udcff.wav")]
    assert found == ["x.y.png", "X.Y-2.png", "odd\udcff.png"]
    # A folder may be named like a picture.
    (tmp_path / "f.png").mkdir()
    assert Pictures(str(tmp_path / "f.png"), 2).write("x.ogg", b"1") == tmp_path / "f.png" / "x.png"


def test_what_cannot_be(tmp_path):
    with pytest.raises(UserError, match="one picture, and there are 2 files; name a folder"):
        Pictures(str(tmp_path / "a.png"), 2)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--png=.*cannot be made"):
        Pictures(str(tmp_path / "file"), 2)
