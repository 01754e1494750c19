import json
import os
from urllib.parse import unquote_to_bytes

import pytest

from trainer.reports.page import AudioLinks
from trainer.settings import SettingError


def audio(folder, track_id):
    path = folder / track_id
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def preprocessed(data_dir, source):
    data_dir.mkdir()
    (data_dir / "metrics.json").write_text(json.dumps({"input": str(source)}))
    return data_dir


def test_links_to_what_preprocessing_read(tmp_path):
    audio(tmp_path / "music", "blues/a.wav")
    link = AudioLinks(preprocessed(tmp_path / "data", tmp_path / "music"))
    assert link("blues/a.wav") == f"file://{tmp_path}/music/blues/a.wav"
    assert link("blues/gone.wav") is None
    assert link("blues") is None


def test_tracks_of_a_csv_lie_beside_it(tmp_path):
    audio(tmp_path / "music", "a.wav")
    audio(tmp_path, "elsewhere.wav")
    link = AudioLinks(preprocessed(tmp_path / "data", tmp_path / "music" / "tracks.CSV"))
    assert link("a.wav") == f"file://{tmp_path}/music/a.wav"
    assert link(str(tmp_path / "elsewhere.wav")) == f"file://{tmp_path}/elsewhere.wav"


def test_a_folder_that_is_named_comes_first(tmp_path):
    audio(tmp_path / "moved", "a.wav")
    audio(tmp_path / "music", "b.wav")
    link = AudioLinks(preprocessed(tmp_path / "data", tmp_path / "music"), tmp_path / "moved")
    assert link("a.wav") and not link("b.wav")
    with pytest.raises(SettingError, match=r"^audio_dir=.*nowhere: no such folder"):
        AudioLinks(tmp_path / "data", tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["50 % & <b>\"'#?.wav", "ü é.wav", "un\udcffdecodable.wav"])
def test_any_name_is_escaped(tmp_path, name):
    audio(tmp_path, name)
    uri = AudioLinks(tmp_path, tmp_path)(name)
    assert uri.isascii() and not set(uri) & set(' &<>"#?')
    assert unquote_to_bytes(uri.removeprefix("file://")) == os.fsencode(tmp_path / name)


def test_a_name_that_no_file_can_have(tmp_path):
    link = AudioLinks(tmp_path, tmp_path)
    assert link("\0") is None and link("a" * 5000) is None


@pytest.mark.parametrize("source", ["gs://bucket/music", "/nowhere/*/*.wav", "/nowhere/music.tar.gz"])
def test_without_a_folder_nothing_is_linked(tmp_path, source):
    assert AudioLinks(preprocessed(tmp_path / "data", source))("a.wav") is None


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"input": 3}'])
def test_without_a_record_of_the_input_nothing_is_linked(tmp_path, text):
    if text is not None:
        (tmp_path / "metrics.json").write_text(text)
    assert AudioLinks(tmp_path)("metrics.json") is None
