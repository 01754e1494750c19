import base64
import io
import re

import jinja2
import numpy as np
import pytest
from PIL import Image

from tfrecords.plots import DARK, LIGHT, new_figure, png
from trainer.reports import page


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
    values = {"reach": 1.0, "pairs": [], "paper": {}, "few_genres": True, "confusions": [], "spectrograms": None}
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
