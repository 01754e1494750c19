"""A picture of one file: its spectrogram, and below it the probability of each genre over time."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from tfrecords.common.terminal import shorten
from tfrecords.plots import LIGHT, Style, new_figure, png, style_axes
from trainer.serving.answers import NOTES, marked, with_chance
from trainer.serving.recognizer import Recognition

_WIDTH_IN = 11.0
# More frames than the picture has pixels are averaged: hours of audio would need gigabytes to draw.
_MAX_FRAMES = 4000
_ROW_IN = 0.28


def timeline_png(title: str, recognition: Recognition, *, style: Style = LIGHT) -> bytes:
    """Draw the spectrogram above a row for each label, darker where it is more probable, on one time axis.

    Of a silent file only the spectrogram is drawn. A note on the file is part of the title.

    Args:
      title: of the picture, such as the file's name.
      recognition: of the file.
      style: colours of paper and ink.

    Returns:
      The bytes of a PNG file.
    """
    rows_in = _ROW_IN * len(recognition.labels) if len(recognition.timeline) else 0.0
    figure = new_figure((_WIDTH_IN, 3.2 + rows_in), style, layout=ConstrainedLayoutEngine(hspace=0.03))
    if rows_in:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, rows_in))
        _draw_labels(below, recognition, style)
    else:
        above = below = figure.subplots()
    _draw_spectrogram(above, recognition, style)
    above.set_title(
        f"{shorten(title, 90)}   {_subtitle(recognition)}", fontsize=10.5, loc="left", color=style.ink, parse_math=False
    )
    below.set_xlabel("seconds", fontsize=9, color=style.ink)
    return png(figure)


def _subtitle(recognition: Recognition) -> str:
    """Return the genre and the note, if any, on a second line."""
    note = NOTES[recognition.note] if recognition.note else ""
    if recognition.label is None:
        return note
    genre = with_chance(recognition)
    return f"{genre}\n{note}" if note else genre


def _draw_spectrogram(axes: Axes, recognition: Recognition, style: Style) -> None:
    log_mel = recognition.log_mel
    if len(log_mel) > _MAX_FRAMES:
        log_mel = np.stack([piece.mean(axis=0) for piece in np.array_split(log_mel, _MAX_FRAMES)])
    extent = (0.0, recognition.duration_s, 0.0, float(log_mel.shape[1]))
    low, high = np.percentile(log_mel, (1, 99.9))
    axes.imshow(log_mel.T, "magma", vmin=low, vmax=high, aspect="auto", origin="lower", extent=extent)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_ylabel("mel band", fontsize=9, color=style.ink)
    style_axes(axes, style)


def _draw_labels(axes: Axes, recognition: Recognition, style: Style) -> None:
    """Draw a row for each label, the most probable on top; stretches without a patch are left blank."""
    order = np.argsort(-recognition.calibrated, kind="stable")
    edges, probabilities = _with_gaps(recognition)
    for row, index in enumerate(order):
        values = probabilities[None, :, index]
        axes.pcolormesh(edges, [row - 0.42, row + 0.42], values, vmin=0, vmax=1, cmap="Blues")
    names = [
        f"{marked(recognition.labels[index], recognition)}  {100 * recognition.calibrated[index]:.0f} %"
        for index in order
    ]
    style_axes(axes, style)
    axes.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, recognition.duration_s))


def _with_gaps(recognition: Recognition) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of the columns, [columns + 1] in seconds, and their probabilities, [columns, labels].

    A column is a patch, or NaN for the stretch after the last whole patch of a piece of a long recording.
    """
    starts, ends = recognition.starts_s, recognition.starts_s + recognition.patch_s
    after_gap = 1 + np.flatnonzero(starts[1:] - ends[:-1] > 1e-3 * recognition.patch_s)
    edges = np.append(np.insert(starts, after_gap, ends[after_gap - 1]), ends[-1])
    return edges, np.insert(recognition.timeline, after_gap, np.nan, axis=0)
