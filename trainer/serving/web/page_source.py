"""The page as one HTML document, put together from the files in the folder `page`; it loads nothing else."""

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
# In this order: page.js uses the others.
_SCRIPTS = ("upload.js", "spectrogram.js", "timeline.js", "stage.js", "player.js", "result.js", "page.js")
_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; "
    "img-src data:; media-src blob:; style-src '{style}'; script-src '{script}'"
)


def page(facts: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return the page and its Content-Security-Policy, which allows its own script and requests to its own server.

    Args:
      facts: about the model and the limits, JSON: see `facts` in page.js.
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
    """Return the hash of an inline style or script as a policy spells it (Content Security Policy Level 2, 4.2.5)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
