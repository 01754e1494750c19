"""The page, put together from the files in the folder `page`: one HTML that asks for nothing more."""

import base64
import hashlib
import html
import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beam_preprocess.audio import EXTENSIONS
from trainer.reports.page import CSS

_FOLDER = Path(__file__).parent / "page"
# In this order; page.js is last and starts it all.
_SCRIPTS = ("upload.js", "spectrogram.js", "timeline.js", "stage.js", "player.js", "result.js", "page.js")
_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; "
    "img-src data:; media-src blob:; style-src '{style}'; script-src '{script}'"
)


def page(facts: Mapping[str, Any]) -> tuple[bytes, str]:
    """The page, and the Content-Security-Policy to send it with: it runs its own script and talks to its own server.

    Args:
      facts: what the script needs to know, JSON: see facts in page.js.
    """
    style = CSS + _read("page.css")
    script = "\n".join(["", '"use strict";', *(_read(name) for name in _SCRIPTS)])
    text = string.Template(_read("page.html")).substitute(
        style=style, script=script, facts=html.escape(json.dumps(facts)), endings=",".join(EXTENSIONS)
    )
    return text.encode("utf-8"), _POLICY.format(style=_hash(style), script=_hash(script))


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


def _hash(text: str) -> str:
    """As a policy names an inline style or script (Content Security Policy Level 2, 4.2.5)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
