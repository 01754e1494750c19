"""The recognition of one file as lines of text, as one line of JSON, or as a picture of its genres over time."""

import json

import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from beam_preprocess.audio import Reject
from tfrecords.plots import LIGHT, Style, new_figure, png, printable, shorten, style_axes
from trainer.serving.recognizer import CANCELLED, SILENT, Recognition

# By note, in words for a person.
NOTES = {
    SILENT: "silent: no genre",
    CANCELLED: "channels cancel: next to nothing is left in their mean, which is what the model hears",
}
# Bars in eighths of a line's height, and their substitutes where the terminal's encoding has none.
_BARS, _ASCII_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
_MAX_COLUMNS = 60
# Of tags, of which there are many, only those with at least this probability are printed.
_MIN_TAG = 0.01


def as_text(path: str, recognition: Recognition, *, encoding: str = "utf-8") -> str:
    """Return a line with the genre, then a line for each label with its probability and a bar chart over time.

    A silent file has one line only, which says so. Of tags, the genres are marked with a star.

    Args:
      path: of the file, printable.
      recognition: of the file.
      encoding: of the terminal.
    """
    if recognition.label is None:
        return f"{path}: {NOTES[SILENT]}"
    bars = _BARS
    try:
        bars.encode(encoding)
    except UnicodeEncodeError:
        bars = _ASCII_BARS
    # Neighbouring patches are averaged so that they fit into a line.
    timeline, each = recognition.timeline, -(-len(recognition.timeline) // _MAX_COLUMNS)
    columns = np.stack([timeline[first : first + each].mean(axis=0) for first in range(0, len(timeline), each)])
    labels = [_marked(label, recognition) for label in recognition.labels]
    width = max(map(len, labels))
    lines = [f"{path}: {printable(recognition.label)} {100 * recognition.probability:.1f} %"]
    if recognition.note:
        lines.append(f"  {NOTES[recognition.note]}")
    for index in np.argsort(-recognition.probabilities, kind="stable"):
        if recognition.genres is not None and recognition.probabilities[index] < _MIN_TAG:
            break
        chart = "".join(bars[round(value * (len(bars) - 1))] for value in columns[:, index])
        lines.append(f"  {labels[index]:<{width}} {100 * recognition.probabilities[index]:5.1f} % |{chart}|")
    column_s = recognition.patch_s * each
    lines.append(f"  {'':<{width}}         a column is {column_s:.2f} s, the file {recognition.duration_s:.1f} s")
    return "\n".join(lines)


def _marked(label: str, recognition: Recognition) -> str:
    star = " *" if recognition.genres is not None and label in recognition.genres else ""
    return f"{printable(label)}{star}"


def as_json(path: str, recognition: Recognition) -> str:
    """Return one line: path, genre, note, probabilities by label, duration_s, patch_s, and a timeline of the patches.

    Where the labels are tags, genres lists those of them that are genres. A silent file has genre and probabilities
    null; the note is null where there is none.
    """

    def by_label(probabilities: np.ndarray) -> dict[str, float]:
        return {label: round(float(p), 6) for label, p in zip(recognition.labels, probabilities, strict=True)}

    return json.dumps(
        {
            "path": path,
            "genre": recognition.label,
            **({} if recognition.genres is None else {"genres": list(recognition.genres)}),
            "note": recognition.note,
            "probabilities": None if recognition.label is None else by_label(recognition.probabilities),
            "duration_s": round(recognition.duration_s, 3),
            "patch_s": round(recognition.patch_s, 6),
            "timeline": [
                {"start_s": round(float(start), 3), "probabilities": by_label(probabilities)}
                for start, probabilities in zip(recognition.starts_s, recognition.timeline, strict=True)
            ],
        }
    )


def reject_as_json(path: str, reject: Reject) -> str:
    """Return one line: path, reason, detail."""
    return json.dumps({"path": path, "reason": reject.reason, "detail": reject.detail})


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
    genre = f"{printable(recognition.label)}, {100 * recognition.probability:.0f} %"
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
    order = np.argsort(-recognition.probabilities, kind="stable")
    edges, probabilities = _with_gaps(recognition)
    for row, index in enumerate(order):
        values = probabilities[None, :, index]
        axes.pcolormesh(edges, [row - 0.42, row + 0.42], values, vmin=0, vmax=1, cmap="Blues")
    names = [
        f"{_marked(recognition.labels[index], recognition)}  {100 * recognition.probabilities[index]:.0f} %"
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
