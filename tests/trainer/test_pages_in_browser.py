"""The reports in a real browser, Chromium."""

import contextlib
import shutil

import pytest

from tests.trainer.browser import Browser
from trainer import evaluate
from trainer.cross_validation.report import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]
WIDE, NARROW = 1400, 400
# In the page: what a reader at this width would have to scroll the whole page for, and text cut off in table heads.
TOO_WIDE = """(() => {
  const width = document.documentElement.clientWidth;
  const wide = document.documentElement.scrollWidth > width ? ['document'] : [];
  for (const element of document.querySelectorAll('main > section, h1')) {
    if (element.getBoundingClientRect().right > width + 0.5) wide.push(element.innerText.slice(0, 40));
  }
  return wide;
})()"""
BROKEN_PICTURES = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with contextlib.closing(Browser(tmp_path_factory.mktemp("profile"))) as opened:
        yield opened


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
    browser.open(report.as_uri(), width=width, dark=dark)
    errors = browser.named("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    assert not errors
    requests = [event["params"]["request"]["url"] for event in browser.named("Network.requestWillBeSent")]
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    assert browser.evaluate(TOO_WIDE) == []
    assert browser.evaluate(BROKEN_PICTURES) == 0
    pixels = browser.screenshot(tmp_path / "page.png")
    assert pixels.shape[1] == width and pixels.std() > 10
    assert (pixels[5, 5].mean() < 60) == dark
