"""What the HTML reports share: a page that needs nothing else, its sections, tables, pictures and scales."""

import base64
import html
import io
import string
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from tfrecords.files import write_text
from tfrecords.plots import DARK, LIGHT, PIXELS_PER_INCH, Style, printable
from trainer.reports.page_style import CSS

_COLOURS = 128  # Of a picture; enough for the shades of a spectrogram.
# The policy makes sure of what the page promises: nothing is fetched, nothing runs.
_PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>$title</title>
<style>$css</style>
</head>
<body>
<h1>$heading</h1>
<main>
$sections
</main>
</body>
</html>
""")


def write(path: Path, *, title: str, heading: str, sections: Sequence[str]) -> None:
    """Writes one self-contained page: no script, no request, pictures inside, for light and dark screens.

    Args:
      path: where to write; a file there is replaced at once by the finished page.
      title: of the browser's tab; text.
      heading: above the sections; text.
      sections: HTML, of `section` and its like.

    Raises:
      UserError: the page cannot be written.
    """
    text = {"title": escape(title), "heading": escape(heading), "sections": "\n".join(sections)}
    write_text(path, _PAGE.substitute(text, css=CSS))


def section(title: str, content: str, width: str = "") -> str:
    """A card with a heading; width is "" for the whole page, or on a broad screen "half", "narrow" or "broad"."""
    return f'<section class="{width}">\n<h2>{escape(title)}</h2>\n{content}\n</section>'


def note(text: str) -> str:
    """A paragraph of explanation below a table or picture; plain text."""
    return f'<p class="note">{escape(text)}</p>'


def scroll(content: str, name: str) -> str:
    """A region that scrolls sideways; reachable by keyboard, as what does not fit is seen only by scrolling."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">{content}</div>'


def table(columns: Sequence[str], body: str, last: str = "") -> str:
    """A table of rows from `row`: the first column is text, the others numbers; last is HTML at the head's end."""
    first, *others = map(escape, columns)
    head = "".join(f'<th scope="col">{name}</th>' for name in others)
    head = f'<tr><th scope="col" class="text">{first}</th>{head}{last}</tr>'
    return scroll(f"<table><thead>{head}</thead><tbody>\n{body}</tbody></table>", columns[0])


def row(name: str, *values: str, last: str = "") -> str:
    """A row of a table: its name and its values, plain text; last is HTML at the row's end."""
    cells = "".join(f"<td>{escape(value)}</td>" for value in values)
    return f'<tr><th scope="row">{escape(name)}</th>{cells}{last}</tr>\n'


def scale(point: float, interval: Sequence[float], *, mark: float, text: str, small: bool = False) -> str:
    """A bar from 0 to 1 with a point, its interval [low, high] and one more mark; text says the same in words."""
    low, high = interval
    return (
        f'<div class="scale{" small" if small else ""}" role="img" aria-label="{escape(text)}">'
        f'<i class="interval" style="left:{css_percent(low)}%;width:{css_percent(high - low)}%"></i>'
        f'<i class="chance" style="left:{css_percent(mark)}%"></i>'
        f'<i class="point" style="left:{css_percent(point)}%"></i></div>'
    )


def picture(draw: Callable[[Style], bytes], text: str, least_px: int) -> str:
    """The picture for light and dark; on a narrow screen it shrinks to least_px wide, and scrolls from there on."""
    light, dark = (_fewer_colours(draw(style)) for style in (LIGHT, DARK))
    width, height = (round(pixels * 96 / PIXELS_PER_INCH) for pixels in struct.unpack(">II", light[16:24]))
    size = f'width="{width}" height="{height}" style="min-width:{min(width, least_px)}px"'
    sources = (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{_data_uri(dark)}">'
        f'<img src="{_data_uri(light)}" {size} alt="{escape(text)}"></picture>'
    )
    return scroll(sources, "Picture")


def _fewer_colours(png: bytes) -> bytes:
    """The picture with a palette: it looks the same and takes a third to a half of the bytes."""
    reduced = io.BytesIO()
    with Image.open(io.BytesIO(png)) as full:
        palette = full.convert("RGB").quantize(_COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        palette.save(reduced, "PNG", optimize=True)
    return reduced.getvalue()


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def escape(text: str) -> str:
    """Foreign text as HTML, in elements and in attributes."""
    return html.escape(printable(text))


def count(number: int, thing: str) -> str:
    """`1 track`, `2 tracks`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def percent(share: float) -> str:
    """`61.5 %`."""
    return f"{100 * share:.1f} %"


def percent_range(low: float, high: float) -> str:
    """`52.3-69.9 %`, with an en dash."""
    return f"{100 * low:.1f}\N{EN DASH}{percent(high)}"


def css_percent(share: float) -> str:
    """A share of a length, for style attributes."""
    return f"{100 * share:.2f}"
