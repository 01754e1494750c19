"""The system's Chromium, driven by Playwright."""

import contextlib
import shutil
import time

import pytest
from playwright.sync_api import expect, sync_playwright

_PATH = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
expect.set_options(timeout=30_000)  # A busy machine is slow.
needs_chromium = pytest.mark.skipif(_PATH is None, reason="Chromium is not installed")


@contextlib.contextmanager
def chromium(*options):
    with sync_playwright() as playwright:
        # Without its sandbox, which does not start for root.
        yield playwright.chromium.launch(executable_path=_PATH, args=options)


@contextlib.contextmanager
def opened(browser, url, *, width, dark=False, noted=()):
    """A page; when the block ends, it has logged nothing but `noted`, loaded nothing foreign, and fits its width."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", is_mobile=width < 600
    )
    with contextlib.closing(context):
        page, messages, requests = context.new_page(), [], []
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        yield page
        assert [message for message in messages if not any(note in message for note in noted)] == []
        assert requests[0] == url
        assert [one for one in requests if not one.startswith((url, "data:", f"blob:{url}"))] == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def wait_until(page, expression, limit_s=30):
    """Waits for a truthy value and returns it; the page's policy would block wait_for_function."""
    ends = time.monotonic() + limit_s
    while not (value := page.evaluate(expression)):
        assert time.monotonic() < ends, f"never came true: {expression}"
        page.wait_for_timeout(50)
    return value
