import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from tfrecords.plots import DARK, LIGHT, new_figure, png
from trainer.reports import page


def draw(style):
    figure = new_figure((3, 2), style)
    figure.add_axes((0, 0, 1, 1)).imshow(np.random.default_rng(0).uniform(size=(50, 50)), "magma")
    return png(figure)


def test_a_picture_keeps_its_size_and_looks_with_few_colours():
    text = page.picture(draw, 'a "picture"', least_px=200)
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
    assert f'width="{round(width / 2)}" height="{round(height / 2)}"' in text and "a &quot;picture&quot;" in text


def test_a_scale_places_what_it_says():
    text = page.scale(0.5, (0.25, 0.6), mark=0.1, text="half & more")
    assert '"interval" style="left:25.00%;width:35.00%"' in text
    assert '"chance" style="left:10.00%"' in text and '"point" style="left:50.00%"' in text
    assert 'aria-label="half &amp; more"' in text


@pytest.mark.parametrize(("number", "words"), [(0, "0 tracks"), (1, "1 track"), (2, "2 tracks")])
def test_counts(number, words):
    assert page.count(number, "track") == words


def test_a_page_shows_foreign_text_as_it_is(tmp_path):
    section = page.section("<b>", page.table(("<i>", "&"), page.row("<u>", "<s>")) + page.note("<q>"))
    page.write(tmp_path / "page.html", title="<t>", heading="<h>", sections=[section])
    text = (tmp_path / "page.html").read_text("utf-8")
    for letter in "biusqth":
        assert f"&lt;{letter}&gt;" in text and f"<{letter}>" not in text.replace("<title>", "")
