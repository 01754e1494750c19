"""The pages of results: jinja2 templates, filled in, the pictures on them and the links to a dataset's audio.

A page is one file for light and dark screens, without a script or a request: its pictures are data URIs.
"""

import base64
import functools
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jinja2
import markupsafe

from tfrecords import storage
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import printable
from tfrecords.plots import DARK, LIGHT, PIXELS_PER_INCH, Style
from trainer.reports import formatting

_TEMPLATES = Path(__file__).parent / "templates"

# The style sheet, which the page of trainer.listen has too.
CSS = (_TEMPLATES / "page.css").read_text("utf-8")


@dataclass(frozen=True)
class Picture:
    """A picture for light and for dark screens.

    Attributes:
      light: the PNG file as a data URI.
      dark: the same for a dark screen.
      width: in CSS pixels.
      height: in CSS pixels.
      least_px: the width below which it scrolls instead of shrinking.
      text: what it shows, in words.
    """

    light: str
    dark: str
    width: int
    height: int
    least_px: int
    text: str


@dataclass(frozen=True)
class Figure:
    """A section of a page that is a picture: a title above, a note below."""

    title: str
    picture: Picture
    note: str = ""


def picture(draw: Callable[[Style], bytes], text: str, least_px: int) -> Picture:
    """Draw a picture on light and on dark paper.

    Args:
      draw: style -> a PNG file.
      text: what it shows, in words.
      least_px: the width below which it scrolls instead of shrinking, where it is wider.
    """
    light, dark = (draw(style) for style in (LIGHT, DARK))
    width, height = (round(pixels * 96 / PIXELS_PER_INCH) for pixels in struct.unpack(">II", light[16:24]))
    return Picture(_data_uri(light), _data_uri(dark), width, height, min(width, least_px), text)


def render(template: str, **values: object) -> str:
    """Return the page that a template in `templates` makes of values; all text in them is shown as it is."""
    return environment().get_template(template).render(values)


@functools.cache
def environment() -> jinja2.Environment:
    """Return what the templates are rendered with."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    for function in (
        formatting.percent,
        formatting.percent_interval,
        formatting.spread,
        formatting.points,
        formatting.count,
    ):
        environment.filters[function.__name__] = function
    environment.filters["css_percent"] = lambda share: f"{100 * share:.2f}"
    environment.globals["css"] = markupsafe.Markup(CSS)  # noqa: S704 - a file of this package.
    return environment


def _finalize(value: object) -> object:
    # Names of files need not be Unicode. Markup is a str too, but holds no foreign text that was not seen here.
    return printable(value) if type(value) is str else value


def _data_uri(png: bytes) -> str:
    # Markup: base64 needs no escaping, which would take its time over megabytes.
    return markupsafe.Markup(f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}")  # noqa: S704


# Written by preprocessing; it names the input, which the manifest does not, as that is the same wherever the input lay.
_METRICS_FILE = "metrics.json"


class AudioLinks:
    """Links to audio files by track id: the file's path below the input.

    Attributes:
      folder: the folder of the input; None where it is not known.

    Raises:
      UserError: audio_dir is no folder.
    """

    def __init__(self, data_dir: storage.Location, audio_dir: str | Path | None = None) -> None:
        if audio_dir is not None and not Path(audio_dir).is_dir():
            raise UserError(f"`audio_dir={audio_dir}`: no such folder; name the input that the dataset was made from")
        self.folder = Path(audio_dir) if audio_dir is not None else _input_folder(data_dir)

    def __call__(self, track_id: str) -> str | None:
        """Return the file: URI of a track's audio, percent-encoded; None where there is no such file."""
        if self.folder is None:
            return None
        path = (self.folder / track_id).absolute()
        return path.as_uri() if os.path.isfile(path) else None  # noqa: PTH113 - False where it may not even be asked


def _input_folder(data_dir: storage.Location) -> Path | None:
    """The folder that preprocessing read, by its own record: the input, or the folder of the CSV that listed it.

    A relative path is taken from the working directory, which may be another by now: a track is linked only where
    there is a file of its name.
    """
    try:
        source = json.loads(storage.read_text(storage.join(data_dir, _METRICS_FILE)))["input"]
        folder = Path(source).parent if source.lower().endswith(".csv") else Path(source)
        return folder if folder.is_dir() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
