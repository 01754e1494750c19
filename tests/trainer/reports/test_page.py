import base64
import io
import json
import os
import re
from urllib.parse import unquote_to_bytes

import jinja2
import numpy as np
import pytest
from PIL import Image

from tfrecords.common.command_line import UserError
from tfrecords.plots import DARK, LIGHT, new_figure, png
from trainer.reports import page
from trainer.reports.page import AudioLinks


def parts():
    """The macros that the pages share."""
    return page.environment().get_template("parts.html").module


def draw(style):
    figure = new_figure((3, 2), style)
    figure.add_axes((0, 0, 1, 1)).imshow(np.random.default_rng(0).uniform(size=(50, 50)), "magma")
    return png(figure)


def test_a_picture_keeps_its_size_and_looks_with_few_colours():
    text = parts().picture(page.picture(draw, 'a "picture"', least_px=200))
    light, dark = (
        base64.b64decode(re.search(f'{name}="data:image/png;base64,([^"]*)"', text).group(1))
        for name in ("src", "srcset")
    )
    for reduced, style in ((light, LIGHT), (dark, DARK)):
        full = np.asarray(Image.open(io.BytesIO(draw(style))).convert("RGB")).astype(int)
        few = np.asarray(Image.open(io.BytesIO(reduced)).convert("RGB")).astype(int)
        assert few.shape == full.shape and np.abs(few - full).mean() < 3
        assert len(np.unique(few.reshape(-1, 3), axis=0)) <= 128
        assert few[0, 0].tolist() == full[0, 0].tolist()
    height, width = np.asarray(Image.open(io.BytesIO(light))).shape
    assert f'width="{round(width / 2)}" height="{round(height / 2)}"' in text and "a &#34;picture&#34;" in text


def test_a_scale_places_what_it_says():
    text = parts().scale(0.5, (0.25, 0.6), 0.1, "half & more")
    assert '"interval" style="left:25.00%;width:35.00%"' in text
    assert '"chance" style="left:10.00%"' in text and '"point" style="left:50.00%"' in text
    assert 'aria-label="half &amp; more"' in text


def test_a_page_shows_foreign_text_as_it_is():
    scores = {"track_accuracy": 0.5, "interval": [0.4, 0.6]}
    results = {
        "data": {"grouped": True, "tracks": 1, "chance": 0.5, "tracks_per_label": {"<i>": 0}},
        "models": {},
        "seeds": [0],
        "tracks_most_wrong": [],
    }
    model = {"pooled": scores, "parameters": 1, "per_label": {"<i>": {"recall": 0.0}}}
    spread = {"mean": 0.5, "std": 0.1}
    spreads = {"patch_accuracy": spread, "track_accuracy": spread, "track_accuracy_vote": spread}
    results["models"]["<b>"] = model | spreads
    values = {"reach": 1.0, "pairs": [], "paper": {}, "few_genres": True, "confusions": [], "reliabilities": []}
    values |= {"spectrograms": None}
    figure = page.Figure("<g>", page.Picture("data:,", "data:,", 1, 1, 1, '"<k>"'), "<q>")
    text = page.render(
        "cross_validation.html",
        **values,
        title="<t>",
        heading="<h>",
        results=results,
        best="<b>",
        facts={"<n>": "<s>"},
        filters=[figure],
        most_wrong_tracks=1,
        audio_link=None,
    )
    for letter in "bighknqst":
        assert f"&lt;{letter}&gt;" in text and f"<{letter}>" not in text
    assert 'alt="&#34;&lt;k&gt;&#34;"' in text


def test_a_value_that_is_not_given_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="heading"):
        page.render("base.html", title="t")


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
    with pytest.raises(UserError, match=r"^`audio_dir=.*nowhere`: no such folder"):
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
