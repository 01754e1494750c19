"""The reports in a real browser: Chromium, driven through a pipe by its DevTools protocol."""

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import threading

import numpy as np
import pytest
from PIL import Image

from trainer import evaluate
from trainer.cross_validation.report import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]
WIDE, NARROW = 1400, 400
QUIET = [
    "--headless=new",
    "--hide-scrollbars",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
]
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


class Browser:
    """One page of a headless Chromium; every event that it sends is kept."""

    def __init__(self, profile):
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        # DevTools reads file descriptor 3 and writes 4; a shell can put the pipes there.
        script = f'exec "$@" 3<&{commands} 4>&{answers}'
        command = ["bash", "-c", script, "chromium", "chromium", *QUIET, "--remote-debugging-pipe"]
        command += [f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(commands)
        os.close(answers)
        self._watchdog = threading.Timer(120, self._process.kill)
        self._watchdog.start()
        self._rest, self._number, self._session, self.events = b"", 0, None, []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        self._watchdog.cancel()
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, event):
        while not any(seen.get("method") == event for seen in self.events):
            self.events.append(self._read())

    def _read(self):
        while b"\0" not in self._rest:
            block = os.read(self._from, 1 << 20)
            assert block, "chromium has ended"
            self._rest += block
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def open(self, path, *, width, dark=False):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")
        self.evaluate("Promise.all([...document.images].map(image => image.decode()))", awaitPromise=True)

    def evaluate(self, expression, **options):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, **options)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        png = base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"])
        path.write_bytes(png)
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def named(self, *methods):
        return [event for event in self.events if event.get("method") in methods]


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
    browser.open(report, width=width, dark=dark)
    errors = browser.named("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    assert not errors
    requests = [event["params"]["request"]["url"] for event in browser.named("Network.requestWillBeSent")]
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    assert browser.evaluate(TOO_WIDE) == []
    assert browser.evaluate(BROKEN_PICTURES) == 0
    pixels = browser.screenshot(tmp_path / "page.png")
    assert pixels.shape[1] == width and pixels.std() > 10
    assert (pixels[5, 5].mean() < 60) == dark
