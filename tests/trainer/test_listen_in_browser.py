"""The page of trainer.listen in a real browser: a click-through of all that a person does there."""

import contextlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from tests.trainer.browser import Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]
SECONDS = 12
RESULT = "!document.getElementById('over-time').hidden && document.getElementById('genre').innerText"
ERROR = "document.getElementById('error').innerText"
CAN_PLAY = "document.getElementById('audio').readyState >= 3"
NOW = "Number(document.getElementById('stage').getAttribute('aria-valuenow'))"
BOX = """(({left, top, width, height}) => [left, top, width, height])(
  document.getElementById('stage').getBoundingClientRect())"""
# How many colours a canvas shows.
COLOURS = """((id) => {
  const canvas = document.getElementById(id);
  const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(pixels).size;
})"""


@pytest.fixture(scope="module")
def url(trained):
    command = [sys.executable, "-m", "trainer.listen", f"--job_dir={trained}", "--port=0", "--max_upload_mb=5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield re.search("http://[^ ]*", process.stdout.readline())[0]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    with contextlib.closing(Browser(profile, "--autoplay-policy=no-user-gesture-required")) as opened:
        opened.call("DOM.enable")
        yield opened


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A tone that rises, in the formats that a test asks for: kind -> path."""
    directory = tmp_path_factory.mktemp("recordings")
    time = np.arange(SECONDS * 22050) / 22050
    samples = 0.4 * np.sin(2 * np.pi * (100 + 150 * time) * time)

    def written(kind):
        path = directory / f"a rising tone é & <b>.{kind}"
        soundfile.write(path, samples, 22050, format=kind.upper())
        return path

    return written


@pytest.fixture(params=[(1400, False), (400, True)], ids=["wide and light", "narrow and dark"])
def page(request, browser, url):
    width, dark = request.param
    browser.open(url, width=width, dark=dark)
    yield browser
    errors = browser.named("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    # Chromium itself notes an answer that is an error, a server that is not there, and its own player reading past the
    # end of a file.
    noted = ("status of 422", "ERR_INTERNET_DISCONNECTED", "ERR_REQUEST_RANGE_NOT_SATISFIABLE")
    assert [error for error in errors if not any(note in str(error) for note in noted)] == []
    requests = [event["params"]["request"]["url"] for event in browser.named("Network.requestWillBeSent")]
    assert [one for one in requests if not one.startswith((url, "data:", f"blob:{url}"))] == []
    assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_file_is_heard_and_seen(page, recording, tmp_path):
    page.choose_files("#file", recording("wav"))
    genre = page.wait_until(RESULT)
    assert genre in ("blues", "jazz", "rock")
    assert page.evaluate("document.getElementById('file-name').innerText") == "a rising tone é & <b>.wav"
    shares = re.findall(r"([\d.]+) %", page.evaluate("document.getElementById('chances').innerText"))
    assert len(shares) == 3 and sum(map(float, shares)) == pytest.approx(100, abs=0.3)
    assert page.evaluate(f"{COLOURS}('spectrogram')") > 50 and page.evaluate(f"{COLOURS}('timeline')") >= 3

    page.wait_until(CAN_PLAY)
    page.evaluate("document.getElementById('audio').play().then(() => 0)", awaitPromise=True)
    begun = page.wait_until(f"{NOW} > 0.3 && {NOW}")
    assert page.wait_until(f"{NOW} > {begun} + 0.5 && {NOW}") < begun + 3
    page.evaluate("document.getElementById('audio').pause()")
    line = "document.getElementById('playhead').getBoundingClientRect().left"
    left, _, width, _ = page.evaluate(BOX)
    assert page.evaluate(line) == pytest.approx(left + width * page.evaluate(NOW) / SECONDS, abs=width * 0.05)

    page.screenshot(tmp_path / "heard.png")


def test_it_is_moved_by_pointer_and_by_keyboard(page, recording):
    page.choose_files("#file", recording("wav"))
    page.wait_until(RESULT)
    page.wait_until(CAN_PLAY)
    page.evaluate("document.getElementById('stage').scrollIntoView({block: 'center'})")
    left, top, width, height = page.evaluate(BOX)
    page.point("mouseMoved", left + width / 4, top + height / 2)
    words = page.wait_until("!document.getElementById('bubble').hidden && document.getElementById('bubble').innerText")
    assert words.startswith("0:03 of 0:12\n") and words.count(" %") == 3
    at = {"x": left + width / 2, "y": top + height / 2, "button": "left", "clickCount": 1}
    page.point("mousePressed", buttons=1, **at)
    page.point("mouseReleased", **at)
    page.wait_until(f"Math.abs({NOW} - 6) < 0.1")
    assert page.evaluate("document.getElementById('audio').currentTime") == pytest.approx(6, abs=0.1)

    page.evaluate("document.getElementById('stage').focus()")
    page.press("Home")
    page.wait_until(f"{NOW} === 0")
    page.press("ArrowRight")
    page.wait_until(f"{NOW} === 1")
    page.press("PageUp")
    page.wait_until(f"{NOW} === 11")
    said = page.evaluate("document.getElementById('stage').getAttribute('aria-valuetext')")
    assert re.fullmatch(r"0:11 of 0:12(, (blues|jazz|rock) \d+ %){3}", said)
    page.press(" ", text=" ", code="Space")
    page.wait_until("!document.getElementById('audio').paused || document.getElementById('audio').ended")


def test_a_format_that_the_browser_does_not_play_is_heard_all_the_same(page, recording):
    page.choose_files("#file", recording("au"))
    page.wait_until(RESULT)
    page.wait_until("document.getElementById('player-note').innerText.startsWith('Played as a mono WAV')")
    page.wait_until(CAN_PLAY)
    assert page.evaluate("document.getElementById('audio').duration") == pytest.approx(SECONDS, abs=0.01)


def test_a_place_chosen_before_the_sound_is_there_is_where_it_starts(page, recording):
    # Within the page, at the moment at which the picture appears: a converted file is not there by then.
    page.evaluate("""new MutationObserver((_, observer) => {
      if (document.getElementById('over-time').hidden) return;
      observer.disconnect();
      document.getElementById('stage').dispatchEvent(new KeyboardEvent('keydown', {key: 'PageUp'}));
    }).observe(document.getElementById('player-note'), {childList: true})""")
    page.choose_files("#file", recording("au"))
    page.wait_until(CAN_PLAY)
    assert page.evaluate("document.getElementById('audio').currentTime") == pytest.approx(10, abs=0.01)
    assert page.evaluate(NOW) == 10


def test_what_cannot_be_used_is_said_and_the_next_file_works(page, recording, tmp_path):
    text, empty, large, short = (tmp_path / name for name in ("text.mp3", "empty.wav", "large.wav", "short.wav"))
    text.write_text("this is no music")
    empty.write_bytes(b"")
    large.write_bytes(bytes(5_000_001))
    soundfile.write(short, np.full(2000, 0.1), 22050)
    for path, words in (
        (text, "not audio that can be decoded"),
        (empty, "it is empty"),
        (large, "larger than 5 MB"),
        (short, "too short"),
    ):
        page.choose_files("#file", path)
        said = page.wait_until(f"{ERROR}.includes({words!r}) && {ERROR}")
        assert path.name in said
        assert page.evaluate("document.getElementById('over-time').hidden")
        assert page.evaluate("document.getElementById('status').innerText") == ""
    page.choose_files("#file", recording("wav"))
    page.wait_until(RESULT)
    assert page.evaluate(ERROR) == ""


def test_a_dropped_file_is_taken_and_a_dropped_folder_is_not(page, recording, tmp_path):
    def drop(*paths):
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            page.call("Input.dispatchDragEvent", type=kind, x=200, y=300, data=data)

    drop(tmp_path)
    page.wait_until(f"{ERROR}.includes('That is a folder')")
    drop(recording("wav"), recording("flac"))
    page.wait_until(f"{ERROR}.includes('one file at a time')")
    drop(recording("flac"))
    page.wait_until(RESULT)
    page.wait_until(CAN_PLAY)


def test_an_upload_shows_how_far_it_is_and_a_server_that_is_gone_is_said(page, recording):
    def network(**conditions):
        still = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        page.call("Network.emulateNetworkConditions", **(still | conditions))

    network(uploadThroughput=400_000)
    page.choose_files("#file", recording("wav"))
    said = page.wait_until("(/Sending.*: [1-9][0-9]* %/.exec(document.getElementById('status').innerText) || [])[0]")
    assert "a rising tone é & <b>.wav" in said
    assert page.evaluate("!document.getElementById('progress').hidden")
    network()
    page.wait_until(RESULT)
    assert page.evaluate("document.getElementById('progress').hidden")
    network(offline=True)
    page.choose_files("#file", recording("wav"))
    page.wait_until(f"{ERROR}.includes('is the server still running?')")
    network()


def test_it_is_reached_without_a_mouse(page):
    page.press("Tab", code="Tab", windowsVirtualKeyCode=9)
    assert page.evaluate("document.activeElement.id") == "file"
    outline = "getComputedStyle(document.querySelector('label[for=file]')).outlineStyle"
    assert page.evaluate(outline) == "solid"


def test_silence_has_no_genre_and_the_next_file_has_one(page, recording, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.full(SECONDS * 22050, 0.25), 22050)
    page.choose_files("#file", tmp_path / "silence.wav")
    page.wait_until("document.getElementById('genre').innerText === 'No genre'")
    assert "no sound in this recording" in page.evaluate("document.getElementById('caution').innerText")
    assert page.evaluate("document.getElementById('over-time').hidden")
    page.choose_files("#file", recording("wav"))
    assert page.wait_until(RESULT) in ("blues", "jazz", "rock")
    assert page.evaluate("document.getElementById('caution').innerText") == ""


def test_channels_that_cancel_are_said_beside_the_genre(page, tmp_path):
    noise = 0.1 * np.random.default_rng(0).normal(size=SECONDS * 22050)
    soundfile.write(tmp_path / "cancels.wav", np.stack([noise, -noise], axis=1), 22050)
    page.choose_files("#file", tmp_path / "cancels.wav")
    assert page.wait_until(RESULT) in ("blues", "jazz", "rock")
    assert "channels of this recording cancel" in page.evaluate("document.getElementById('caution').innerText")
