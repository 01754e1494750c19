"""The page of trainer.listen in a real browser: a click-through of all that a person does there."""

import contextlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from playwright.sync_api import expect

from beam_preprocess.inputs.tracks import list_tracks
from tests.trainer.browser import chromium, needs_chromium, opened, wait_until
from trainer import embed
from trainer.serving.recognizer import Recognizer

pytestmark = [pytest.mark.slow, needs_chromium]
SECONDS = 12
GENRE = re.compile("blues|jazz|rock")
NOW = "Number(document.getElementById('stage').getAttribute('aria-valuenow'))"
# Chromium itself logs a response that is an error, a missing server, and its own player reading past the end of a file.
NOTED = ("status of 422", "ERR_INTERNET_DISCONNECTED", "ERR_REQUEST_RANGE_NOT_SATISFIABLE")
# How many colours a canvas shows.
COLOURS = """canvas => new Set(new Uint32Array(
  canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"""


@contextlib.contextmanager
def listening(trained, *flags):
    """Yields the address of a page."""
    command = [sys.executable, "-m", "trainer.listen", f"--job_dir={trained}", "--port=0", "--max_upload_mb=5", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield re.search("http://[^ ]*", process.stdout.readline())[0]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def url(trained):
    with listening(trained) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium("--autoplay-policy=no-user-gesture-required") as started:
        yield started


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
    with opened(browser, url, width=width, dark=dark, noted=NOTED) as page:
        yield page


def has_result(page):
    expect(page.locator("#over-time")).to_be_visible(timeout=30_000)
    # The heading may be "unlike the training music"; the genre is named below in any case.
    expect(page.locator("#genre")).to_have_text(re.compile(f"{GENRE.pattern}|unlike the training music"))
    expect(page.locator("#chance")).to_have_text(GENRE)


def can_play(page):
    wait_until(page, "document.getElementById('audio').readyState >= 3")


def test_a_file_is_played_and_drawn(page, recording, tmp_path):
    page.set_input_files("#file", recording("wav"))
    has_result(page)
    expect(page.locator("#file-name")).to_have_text("a rising tone é & <b>.wav")
    shares = re.findall(r"([\d.]+) %", page.inner_text("#chances"))
    assert len(shares) == 3 and sum(map(float, shares)) == pytest.approx(100, abs=0.3)
    assert page.locator("#spectrogram").evaluate(COLOURS) > 50 and page.locator("#timeline").evaluate(COLOURS) >= 3

    can_play(page)
    audio = page.locator("#audio")
    audio.evaluate("audio => audio.play()")
    begun = wait_until(page, f"{NOW} > 0.3 && {NOW}")
    assert wait_until(page, f"{NOW} > {begun} + 0.5 && {NOW}") < begun + 3
    audio.evaluate("audio => audio.pause()")
    stage = page.locator("#stage").bounding_box()
    line = page.locator("#playhead").bounding_box()["x"]
    assert line == pytest.approx(stage["x"] + stage["width"] * page.evaluate(NOW) / SECONDS, abs=stage["width"] * 0.05)

    page.screenshot(path=tmp_path / "played.png", full_page=True)


def test_pointer_and_keyboard_move_the_playhead(page, recording):
    page.set_input_files("#file", recording("wav"))
    has_result(page)
    can_play(page)
    stage, bubble = page.locator("#stage"), page.locator("#bubble")
    box = stage.bounding_box()
    stage.hover(position={"x": box["width"] * 0.27, "y": box["height"] / 2})
    expect(bubble).to_be_visible()
    words = bubble.inner_text()
    assert words.startswith("0:03 of 0:12\n") and words.count(" %") == 3
    stage.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    wait_until(page, f"Math.abs({NOW} - 6) < 0.1")
    assert page.evaluate("document.getElementById('audio').currentTime") == pytest.approx(6, abs=0.1)

    for key, now in (("Home", "0.0"), ("ArrowRight", "1.0"), ("PageUp", "11.0")):
        stage.press(key)
        expect(stage).to_have_attribute("aria-valuenow", now)
    expect(stage).to_have_attribute("aria-valuetext", re.compile(r"^0:11 of 0:12(, (blues|jazz|rock) \d+ %){3}$"))
    stage.press(" ")
    wait_until(page, "!document.getElementById('audio').paused || document.getElementById('audio').ended")


def test_a_format_that_the_browser_cannot_play_is_converted(page, recording):
    page.set_input_files("#file", recording("au"))
    has_result(page)
    expect(page.locator("#player-note")).to_have_text(re.compile("^Played as a mono WAV"))
    can_play(page)
    assert page.evaluate("document.getElementById('audio').duration") == pytest.approx(SECONDS, abs=0.01)


def test_a_position_chosen_before_the_sound_is_loaded_is_where_it_starts(page, recording):
    # Within the page, at the moment at which the picture appears: a converted file is not there by then.
    page.evaluate("""() => new MutationObserver((_, observer) => {
      if (document.getElementById('over-time').hidden) return;
      observer.disconnect();
      document.getElementById('stage').dispatchEvent(new KeyboardEvent('keydown', {key: 'PageUp'}));
    }).observe(document.getElementById('player-note'), {childList: true})""")
    page.set_input_files("#file", recording("au"))
    can_play(page)
    assert page.evaluate("document.getElementById('audio').currentTime") == pytest.approx(10, abs=0.01)
    assert page.evaluate(NOW) == 10


def test_a_file_that_cannot_be_used_is_an_error_and_the_next_one_works(page, recording, tmp_path):
    text, empty, large, short = (tmp_path / name for name in ("text.mp3", "empty.wav", "large.wav", "short.wav"))
    text.write_text("this is no music")
    empty.write_bytes(b"")
    large.write_bytes(bytes(5_000_001))
    soundfile.write(short, np.full(2000, 0.1), 22050)
    error = page.locator("#error")
    for path, words in (
        (text, "not audio that can be decoded"),
        (empty, "it is empty"),
        (large, "larger than 5 MB"),
        (short, "too short"),
    ):
        page.set_input_files("#file", path)
        expect(error).to_contain_text(words)
        expect(error).to_contain_text(path.name)
        expect(page.locator("#over-time")).to_be_hidden()
        expect(page.locator("#status")).to_have_text("")
    page.set_input_files("#file", recording("wav"))
    has_result(page)
    expect(error).to_have_text("")


def test_a_dropped_file_is_taken_and_a_dropped_folder_is_not(page, recording, tmp_path):
    devtools = page.context.new_cdp_session(page)
    error = page.locator("#error")

    def drop(*paths):
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 300, "data": data})

    drop(tmp_path)
    expect(error).to_contain_text("That is a folder")
    drop(recording("wav"), recording("flac"))
    expect(error).to_contain_text("one file at a time")
    drop(recording("flac"))
    has_result(page)
    can_play(page)


def test_an_upload_shows_its_progress_and_a_missing_server_is_an_error(page, recording):
    devtools = page.context.new_cdp_session(page)

    def network(**conditions):
        still = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        devtools.send("Network.emulateNetworkConditions", still | conditions)

    network(uploadThroughput=400_000)
    page.set_input_files("#file", recording("wav"))
    sending = re.compile(r"Sending.*a rising tone é & <b>\.wav.*: [1-9][0-9]* %")
    expect(page.locator("#status")).to_have_text(sending)
    expect(page.locator("#progress")).to_be_visible()
    network()
    has_result(page)
    expect(page.locator("#progress")).to_be_hidden()
    network(offline=True)
    page.set_input_files("#file", recording("wav"))
    expect(page.locator("#error")).to_contain_text("is the server still running?")
    network()


def test_tracks_of_a_collection_that_sound_like_it_are_named(page, browser, trained, recording, tmp_path):
    page.set_input_files("#file", recording("wav"))
    has_result(page)
    expect(page.locator("#similar")).to_be_hidden()
    (tmp_path / "music" / "jazz").mkdir(parents=True)
    shutil.copy(recording("wav"), tmp_path / "music" / "jazz" / "the same.wav")
    noise = 0.1 * np.random.default_rng(0).normal(size=4 * 22050)
    soundfile.write(tmp_path / "music" / "jazz" / "noise & <b>.wav", noise, 22050)
    recognizer, output = Recognizer.load(trained).with_units(), str(tmp_path / "all.parquet")
    embed.embed(recognizer, list_tracks(str(tmp_path / "music")), output, job_dir=str(trained))
    with listening(trained, f"--embeddings={output}") as address, opened(browser, address, width=1000) as similar:
        similar.set_input_files("#file", recording("wav"))
        has_result(similar)
        expect(similar.locator("#similar-tracks li")).to_have_text(
            [re.compile(r"^the same\.wavjazz1\.00$"), re.compile(r"^noise & <b>\.wavjazz-?\d\.\d\d$")]
        )


def test_it_is_reached_without_a_mouse(page):
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    expect(page.locator("label[for=file]")).to_have_css("outline-style", "solid")


def test_silence_has_no_genre_and_the_next_file_has_one(page, recording, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.full(SECONDS * 22050, 0.25), 22050)
    page.set_input_files("#file", tmp_path / "silence.wav")
    expect(page.locator("#genre")).to_have_text("No genre")
    expect(page.locator("#caution")).to_contain_text("no sound in this recording")
    expect(page.locator("#over-time")).to_be_hidden()
    page.set_input_files("#file", recording("wav"))
    has_result(page)
    expect(page.locator("#caution")).not_to_contain_text("no sound in this recording")


def test_channels_that_cancel_are_noted_beside_the_genre(page, tmp_path):
    noise = 0.1 * np.random.default_rng(0).normal(size=SECONDS * 22050)
    soundfile.write(tmp_path / "cancels.wav", np.stack([noise, -noise], axis=1), 22050)
    page.set_input_files("#file", tmp_path / "cancels.wav")
    has_result(page)
    expect(page.locator("#caution")).to_contain_text("channels of this recording cancel")
