"""The reports in a real browser, Chromium."""

import numpy as np
import pytest
from PIL import Image

from tests.trainer.browser import chromium, needs_chromium, opened
from trainer import evaluate
from trainer.reports.cross_validation import write_report

pytestmark = [pytest.mark.slow, needs_chromium]
WIDE, NARROW = 1400, 400
# In the page: what reaches beyond this width, and would have the reader scroll the whole page.
TOO_WIDE = """[...document.querySelectorAll('main > section, h1')]
  .filter(element => element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map(element => element.innerText.slice(0, 40))"""
DECODED = "Promise.all([...document.images].map(image => image.decode().then(() => image.naturalWidth)))"


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module", params=["evaluation", "cross-validation"])
def report(request, tmp_path_factory):
    if request.param == "evaluation":
        directory = tmp_path_factory.mktemp("evaluation")
        evaluate.evaluate(request.getfixturevalue("trained"), directory)
        return directory / "report.html"
    return write_report(request.getfixturevalue("cross_validated"))


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_it_without_an_error_or_a_request(browser, report, tmp_path, width, dark):
    with opened(browser, report.as_uri(), width=width, dark=dark) as page:
        assert all(page.evaluate(DECODED))
        assert page.evaluate(TOO_WIDE) == []
        page.screenshot(path=tmp_path / "page.png", full_page=True)
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    assert pixels.shape[1] == width and pixels.std() > 10
    assert (pixels[5, 5].mean() < 60) == dark
