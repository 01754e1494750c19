"""The style sheet of the HTML reports.

What the HTML reports share: a page that needs nothing else, its sections, tables, pictures and scales.
"""

import base64
import html
import io
import string
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from tfrecords.common.files import write_text
from tfrecords.plots import DARK, LIGHT, PIXELS_PER_INCH, Style, printable

CSS = """
:root {
  color-scheme: light dark;
  --page: #f3f5f8; --paper: #ffffff; --ink: #1c2430; --soft: #566173; --line: #dde2e9; --accent: #0067a8;
  --band: #9ecbec; --bar: #5b9bd8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1217; --paper: #171c24; --ink: #e4e9f0; --soft: #9ba7b8; --line: #2b3442; --accent: #6cbcf2;
    --band: #24557f; --bar: #3b80c4;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 3rem; max-width: 75rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif;
}
h1 { margin: 0 0 1.25rem; font-size: 1.5rem; line-height: 1.25; letter-spacing: -.01em; }
h2 { margin: 0 0 .9rem; font-size: 1.1rem; line-height: 1.3; }
p { margin: .75rem 0 0; }
main { display: grid; grid-template-columns: repeat(12, minmax(0, 1fr)); gap: 1.25rem; align-items: start; }
section {
  grid-column: 1 / -1; min-width: 0; padding: 1.4rem 1.6rem 1.5rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: .75rem;
}
.note { color: var(--soft); font-size: .875rem; max-width: 46rem; }
.headline { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: center; }
.figure { font-size: 4rem; font-weight: 700; line-height: 1; letter-spacing: -.03em; color: var(--accent); }
.headline p { margin: .5rem 0 0; }
.headline .gauge { flex: 1 1 20rem; min-width: 0; }
.scale { position: relative; height: .85rem; border-radius: .5rem; background: var(--line); }
.scale i { position: absolute; top: 0; bottom: 0; display: block; }
.scale .interval { background: var(--band); border-radius: .2rem; }
.scale .point { width: .3rem; margin-left: -.15rem; top: -.35rem; bottom: -.35rem; background: var(--accent);
  border-radius: .15rem; }
.scale .chance { width: .15rem; margin-left: -.075rem; top: -.2rem; bottom: -.2rem; background: var(--soft); }
.small { height: .55rem; min-width: 9rem; margin: .35rem 0; }
.small .point { top: -.2rem; bottom: -.2rem; width: .2rem; margin-left: -.1rem; }
.small .chance { top: 0; bottom: 0; }
.ends { display: flex; justify-content: space-between; margin-top: .35rem; color: var(--soft); font-size: .8rem; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .5rem 0 0; padding: 0; list-style: none;
  color: var(--soft); font-size: .875rem; }
.key li { white-space: nowrap; }
.key i { display: inline-block; width: .7rem; height: .7rem; margin-right: .4rem; border-radius: .15rem; }
.scroll { overflow-x: auto; margin: 0 -.4rem; padding: 0 .4rem; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: .25rem; }
table { width: 100%; border-collapse: collapse; font-size: .9375rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .6rem; text-align: right; vertical-align: baseline; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-size: .8125rem; font-weight: 600; white-space: nowrap; }
thead .elsewhere { min-width: 9.5rem; text-align: center; border-left: 1px solid var(--line); white-space: normal; }
td.elsewhere { border-left: 1px solid var(--line); color: var(--soft); }
thead .group { text-align: center; }
.scale-cell { width: 26%; }
td.shaded:last-child { padding-right: .6rem; }
.several { min-width: 11rem; }
th[scope=row], .text { text-align: left; white-space: normal; overflow-wrap: break-word; }
.id, .facts td { overflow-wrap: anywhere; }
th[scope=row] { font-weight: 500; }
.id { font: .8125rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.facts th { width: 32%; color: var(--soft); }
.bar { width: 24%; }
.bar i { display: block; height: .6rem; border-radius: .3rem; background: var(--bar); }
.bar span { display: block; border-radius: .3rem; background: var(--line); }
a { color: var(--accent); }
picture, img { display: block; }
img { max-width: 100%; height: auto; margin: 0 auto; }
@media (min-width: 64rem) {
  .half { grid-column: span 6; }
  .narrow { grid-column: span 5; }
  .broad { grid-column: span 7; }
}
@media (max-width: 36rem) {
  body { padding: 1.25rem .6rem 2rem; }
  h1 { margin-left: .4rem; }
  section { padding: 1.1rem 1rem 1.2rem; }
  .figure { font-size: 3.25rem; }
  table { font-size: .875rem; }
  th, td { padding-left: .3rem; padding-right: .3rem; }
  .bar { display: none; }
}
"""


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
