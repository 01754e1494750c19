"""Grids of spectrograms as PNG files, and the style that all plots of the project share."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine, LayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image

from tfrecords.common.terminal import shorten

PIXELS_PER_INCH = 192  # Twice the 96 of CSS: a picture shown at half size is sharp on any screen.
_PANEL_HEIGHT_IN = 1.25
_MOST_COLUMNS = 5
_COLOURS = 128  # Of a picture; enough for the shades of a spectrogram.
_COLOUR_MAP = "magma"  # Perceptually uniform, also to colour-blind eyes.
_TITLE: dict[str, Any] = {"fontsize": 9, "loc": "left", "parse_math": False}


@dataclass(frozen=True)
class Style:
    """Colours of a plot, as #rrggbb: its background, its text, its faint lines."""

    paper: str
    ink: str
    faint: str


LIGHT = Style(paper="#ffffff", ink="#1c2430", faint="#c9d0d9")
DARK = Style(paper="#171c24", ink="#e4e9f0", faint="#465061")


@dataclass(frozen=True, eq=False)
class Spectrogram:
    """One panel of a grid.

    Attributes:
      log_mel: [frames, mel_bands] floats, neither axis empty.
      title: text above the panel.
      frames_per_s: frames a second, above 0 (sample rate / hop length).

    Raises:
      ValueError: log_mel is empty or not two-dimensional, or frames_per_s is not above 0.
    """

    log_mel: np.ndarray
    title: str
    frames_per_s: float

    def __post_init__(self) -> None:
        if self.log_mel.ndim != 2 or 0 in self.log_mel.shape:
            raise ValueError(f"log_mel must be [frames >= 1, mel_bands >= 1]; got shape {self.log_mel.shape}")
        if not (math.isfinite(self.frames_per_s) and self.frames_per_s > 0):
            raise ValueError(f"frames_per_s must be a number above 0; got {self.frames_per_s}")


def spectrogram_grid(
    items: Sequence[Spectrogram], *, columns: int | None = None, unit: str = "log-mel value", style: Style = LIGHT
) -> bytes:
    """Draw spectrograms side by side on one colour scale: seconds to the right, mel bands upwards.

    The scale runs from the 1st percentile of all finite values to the 99.9th, so that a moment of digital silence
    does not use up its range.

    Args:
      items: one or more panels, drawn row by row.
      columns: panels in a row; by default at most 5, so that the rows are about equally full.
      unit: unit of the values, shown beside the colour scale.
      style: colours of the picture.

    Returns:
      A PNG file.

    Raises:
      ValueError: there are no items, or columns is below 1.
    """
    if not items:
        raise ValueError("items must hold one or more spectrograms; got none")
    if columns is None:
        columns = math.ceil(len(items) / math.ceil(len(items) / _MOST_COLUMNS))
    if columns < 1:
        raise ValueError(f"columns must be at least 1; got {columns}")
    rows = math.ceil(len(items) / columns)
    width_in = max(2.3, 5.5 / columns)
    size_in = (columns * width_in + 0.9, rows * (_PANEL_HEIGHT_IN + 0.35) + 0.3)
    figure = new_figure(size_in, style, layout=ConstrainedLayoutEngine())
    grid = figure.subplots(rows, columns, squeeze=False)
    scale = Normalize(*_value_range(items))
    for axes, item in zip(grid.flat, items, strict=False):
        _draw_spectrogram(axes, item, scale, style)
        # Thirteen characters of this font size fill an inch.
        axes.set_title(shorten(item.title, int(13 * width_in)), **_TITLE, color=style.ink)
    for axes in grid.flat[len(items) :]:
        axes.set_axis_off()
    figure.supxlabel("seconds", fontsize=9, color=style.ink)
    figure.supylabel("mel band", fontsize=9, color=style.ink)
    bar = figure.colorbar(
        ScalarMappable(scale, _COLOUR_MAP), ax=grid, shrink=max(0.3, 1 / rows), aspect=16, extend="both", pad=0.015
    )
    bar.set_label(unit, fontsize=9, color=style.ink)
    style_axes(bar.ax, style)
    bar.outline.set_edgecolor(style.faint)
    return png(figure)


def _draw_spectrogram(axes: Axes, item: Spectrogram, scale: Normalize, style: Style) -> None:
    frames, mel_bands = item.log_mel.shape
    extent = (0, frames / item.frames_per_s, 0, mel_bands)
    values = item.log_mel.T.astype(np.float32)
    axes.imshow(values, _COLOUR_MAP, norm=scale, aspect="auto", origin="lower", extent=extent)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    style_axes(axes, style)


def _value_range(items: Sequence[Spectrogram]) -> tuple[float, float]:
    values = np.concatenate([item.log_mel.ravel() for item in items]).astype(np.float32)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, (1, 99.9)))
    return (low, high) if high > low else (low, low + 1)


def new_figure(size_in: tuple[float, float], style: Style, *, layout: LayoutEngine | None = None) -> Figure:
    """Return an empty figure of (width, height) in inches in a style, independent of pyplot's global state."""
    figure = Figure(figsize=size_in, dpi=PIXELS_PER_INCH, facecolor=style.paper, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, style: Style) -> None:
    """Apply a style to axes: faint frames, small ticks and numbers in the text's colour."""
    axes.set_facecolor(style.paper)
    axes.tick_params(colors=style.ink, labelsize=8, length=3, width=0.6)
    for spine in axes.spines.values():
        spine.set(color=style.faint, linewidth=0.8)


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file of PIXELS_PER_INCH, cropped to what is drawn.

    It has a palette: it looks the same, and takes a third of the bytes.
    """
    full, reduced = io.BytesIO(), io.BytesIO()
    # Hardly compressed, as it is read again at once.
    fast = {"compress_level": 1}
    figure.savefig(full, format="png", dpi=PIXELS_PER_INCH, bbox_inches="tight", pad_inches=0.08, pil_kwargs=fast)
    with Image.open(full) as image:
        palette = image.convert("RGB").quantize(_COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        palette.save(reduced, "PNG", optimize=True, dpi=image.info["dpi"])
    return reduced.getvalue()
