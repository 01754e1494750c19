"""Takes the pictures of pages that the documentation shows, from what the tutorial left in build/docs/tutorial.

python -m tools.docs_pictures        after `make docs`; needs Chromium

Writes docs/images/report.png and docs/images/listen.png, which are kept in the repository: no music but the synthetic
one is in them.
"""

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from absl import flags

from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tools.docs_pages import ROOT, WORK

if TYPE_CHECKING:
    from playwright.sync_api import Page

_IMAGES = ROOT / "docs" / "images"
_TUTORIAL = WORK / "tutorial"
# README shows one of them, so they stay small.
_MAX_BYTES = 150_000

FLAGS = flags.FlagValues()


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Take both pictures."""
    from playwright.sync_api import sync_playwright

    command_line.no_arguments(positional)
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None or not (_TUTORIAL / "job" / "report.html").exists():
        raise UserError("Chromium, and what `make docs` leaves in build/docs/tutorial, are needed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser)
        page = started.new_page(viewport={"width": 1000, "height": 600})
        page.goto((_TUTORIAL / "job" / "report.html").as_uri())
        _take(page, "report")
        _listen(page)
        started.close()


def _listen(page: "Page") -> None:
    """Take the page of trainer.listen with a song that has been analysed."""
    command = [sys.executable, "-m", "trainer.listen", f"--job_dir={_TUTORIAL / 'job'}", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            assert server.stdout is not None  # noqa: S101 - a pipe was asked for
            address = re.search("http://[^ ]*", server.stdout.readline())
            if address is None:
                raise UserError("trainer.listen did not start")
            page.goto(address[0])
            page.set_input_files("#file", next((_TUTORIAL / "new" / "reggae").glob("*.wav")))
            page.locator("#over-time").wait_for(timeout=60_000)
            page.wait_for_timeout(1000)
            page.locator("#over-time").evaluate("element => element.scrollIntoView()")
            _take(page, "listen")
        finally:
            server.terminate()


def _take(page: "Page", name: str) -> None:
    """Write what the page shows as a PNG of few colours."""
    import io

    from PIL import Image

    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(128)
    path = _IMAGES / f"{name}.png"
    picture.save(path, optimize=True)
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} has {path.stat().st_size} bytes, more than {_MAX_BYTES}")
    print(f"wrote {path.relative_to(ROOT)}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
