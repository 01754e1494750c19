"""Pictures of results as PNG bytes: a confusion matrix, learning curves, and accuracy against cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from tfrecords.common.terminal import shorten
from tfrecords.plots import LIGHT, Style, new_figure, png, style_axes
from trainer.evaluation.intervals import wilson_interval

_NAME_CHARACTERS = 24
_BLUES_ON_LIGHT = ("#b5d4f1", "#5b9bd8", "#1f5fae", "#0b2f66")
_BLUES_ON_DARK = ("#143c70", "#2a6cb5", "#64a5e3", "#cbe2f8")
# Okabe and Ito's colours, which stay apart for colour-blind readers; the lighter pair on dark paper.
_LINES_ON_LIGHT = {"training": "#0072b2", "validation": "#d55e00"}
_LINES_ON_DARK = {"training": "#56b4e9", "validation": "#e69f00"}
_CURVES = ("loss", "val_loss", "accuracy", "val_accuracy")


def confusion_matrix(
    confusion: np.ndarray | Sequence[Sequence[int]], label_names: Sequence[str], *, style: Style = LIGHT
) -> bytes:
    """Draw a confusion matrix: numbers of tracks in the cells, coloured by their share of the true label's tracks.

    Args:
      confusion: [labels true, labels predicted] counts.
      label_names: [labels]; long ones are shortened.
      style: colours of paper and ink.

    Returns:
      A PNG file.

    Raises:
      ValueError: the matrix is not square, or not as wide as there are names.
    """
    counts = np.asarray(confusion, np.int64)
    size = len(label_names)
    if not size or counts.shape != (size, size):
        raise ValueError(f"confusion must be [labels, labels] for {size} >= 1 label_names; got shape {counts.shape}")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell_in = min(1.1, max(0.33, 5.6 / size))
    figure = new_figure((size * cell_in, size * cell_in), style)
    axes = figure.add_axes((0, 0, 1, 1))
    image = axes.imshow(shares, _blues(style), vmin=0, vmax=1)
    _name_axes(axes, [shorten(name, _NAME_CHARACTERS) for name in label_names], cell_in, style)
    _write_counts(axes, counts, shares, style)
    side_in = size * cell_in
    bar = figure.colorbar(image, cax=figure.add_axes((1 + 0.15 / side_in, 0, 0.13 / side_in, 1)))
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
    bar.set_label("share of the true genre's tracks", fontsize=9, color=style.ink)
    style_axes(bar.ax, style)
    bar.outline.set_visible(False)
    return png(figure)


def _blues(style: Style) -> LinearSegmentedColormap:
    # One hue, from the paper to its opposite: more always stands out more, on light paper and on dark.
    steps = _BLUES_ON_LIGHT if is_light(style.paper) else _BLUES_ON_DARK
    return LinearSegmentedColormap.from_list("shares", [style.paper, *steps])


def is_light(colour: str | Sequence[float]) -> bool:
    """Whether dark ink reads better on a colour, #rrggbb or shares of 1, than light ink."""
    if isinstance(colour, str):
        colour = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return float(np.dot(colour[:3], (0.299, 0.587, 0.114))) > 0.5


def _name_axes(axes: Axes, names: Sequence[str], cell_in: float, style: Style) -> None:
    size, fontsize = len(names), 10 if len(names) <= 15 else 8.5
    slanted = max(map(len, names)) * fontsize * 0.0085 > cell_in
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    style_axes(axes, style)
    axes.set_xticks(range(size), names, fontsize=fontsize, parse_math=False, **turn)
    axes.set_yticks(range(size), names, fontsize=fontsize, parse_math=False)
    axes.tick_params(length=0, pad=5)
    axes.set_xlabel("predicted genre", fontsize=10, color=style.ink, labelpad=8)
    axes.set_ylabel("true genre", fontsize=10, color=style.ink, labelpad=8)
    edges = np.arange(size + 1) - 0.5
    axes.hlines(edges, -0.5, size - 0.5, color=style.faint, linewidth=0.5, clip_on=False)
    axes.vlines(edges, -0.5, size - 0.5, color=style.faint, linewidth=0.5, clip_on=False)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray, style: Style) -> None:
    colours = _blues(style)
    fontsize = (10 if len(counts) <= 15 else 8) * min(1, 4 / len(str(counts.max())))
    for true, predicted in np.argwhere(counts):
        ink = "#10161f" if is_light(colours(shares[true, predicted])) else "#ffffff"
        weight = "bold" if true == predicted else "normal"
        cell: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "fontsize": fontsize,
            "color": ink,
            "fontweight": weight,
        }
        axes.text(predicted, true, str(counts[true, predicted]), **cell)


def learning_curves(history: Mapping[str, Sequence[float]], *, best_epoch: int = 0, style: Style = LIGHT) -> bytes:
    """Draw loss and accuracy over the epochs, training against validation; `best_epoch` is marked in both.

    Args:
      history: one value per epoch for any of loss, val_loss, accuracy, val_accuracy (shares of 1); the rest is ignored.
      best_epoch: the epoch, from 1, whose model is kept; 0 marks none.
      style: colours of paper and ink.

    Returns:
      A PNG file.

    Raises:
      ValueError: the history has none of these, or not the same number of epochs for each.
    """
    curves = {name: np.asarray(history[name], np.float64) for name in _CURVES if len(history.get(name, ()))}
    lengths = {name: len(values) for name, values in curves.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"history must hold as many epochs (>= 1) of each of {', '.join(_CURVES)}; got {lengths}")
    epochs = max(lengths.values())
    figure = new_figure((11, 3.1), style, layout=ConstrainedLayoutEngine(wspace=0.06))
    legend: dict[str, Any] = {}
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        style_axes(axes, style)
        _draw_curve(axes, curves.get(metric), "training", style)
        _draw_curve(axes, curves.get(f"val_{metric}"), "validation", style)
        if best_epoch:
            _mark_epoch(axes, best_epoch, curves.get(f"val_{metric}"), style)
        _finish_curves(axes, metric, epochs, style)
        lines, names = axes.get_legend_handles_labels()
        legend.update(zip(names, lines, strict=True))
    where: dict[str, Any] = {"loc": "outside upper left", "ncols": len(legend), "frameon": False}
    figure.legend(legend.values(), legend.keys(), fontsize=9, labelcolor=style.ink, **where)
    return png(figure)


def _draw_curve(axes: Axes, values: np.ndarray | None, name: str, style: Style) -> None:
    if values is None:
        return
    marker = "o" if len(values) <= 12 else None
    colour = _line_colours(style)[name]
    axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=1.8, marker=marker, markersize=3.5, label=name)


def _line_colours(style: Style) -> dict[str, str]:
    return _LINES_ON_LIGHT if is_light(style.paper) else _LINES_ON_DARK


def _mark_epoch(axes: Axes, epoch: int, values: np.ndarray | None, style: Style) -> None:
    axes.axvline(epoch, color=style.ink, linewidth=0.9, linestyle=(0, (3, 3)), label=f"best epoch: {epoch}", zorder=1)
    if values is not None and np.isfinite(values[epoch - 1]):
        ring: dict[str, Any] = {"markerfacecolor": style.paper, "markeredgecolor": _line_colours(style)["validation"]}
        axes.plot([epoch], [values[epoch - 1]], "o", markersize=7, markeredgewidth=1.8, zorder=5, **ring)


def _finish_curves(axes: Axes, metric: str, epochs: int, style: Style) -> None:
    axes.set_title(metric, fontsize=10.5, color=style.ink, loc="left", fontweight="bold")
    axes.set_xlabel("epoch", fontsize=9, color=style.ink)
    axes.set_xlim(0.5, epochs + max(0.5, 0.02 * epochs))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))
    axes.grid(axis="y", color=style.faint, linewidth=0.6, alpha=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    if metric == "accuracy":
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")


def reliability(found: Mapping[str, Any], *, style: Style = LIGHT) -> bytes:
    """Draw a reliability diagram: accuracy over mean probability of ranges of tracks, with 95 % intervals.

    Args:
      found: {"raw": {"rows"}, "scaled": {"rows"}} of `trainer.evaluation.reliability.assess`; scaled may be missing.
      style: colours of paper and ink.

    Returns:
      A PNG file.
    """
    figure = new_figure((4.6, 4.2), style)
    axes = figure.add_axes((0, 0, 1, 1))
    style_axes(axes, style)
    axes.plot([0, 1], [0, 1], color=style.ink, linewidth=0.9, linestyle=(0, (3, 3)), label="honest", zorder=1)
    names = {"raw": "as the model gives them", "scaled": "scaled"}
    for (name, label), colour in zip(names.items(), reversed(_line_colours(style).values()), strict=True):
        if name not in found:
            continue
        rows = found[name]["rows"]
        confidence, accuracy = ([row[key] for row in rows] for key in ("confidence", "accuracy"))
        ends = [wilson_interval(row["accuracy"] * row["tracks"], row["tracks"]) for row in rows]
        axes.vlines(confidence, *zip(*ends, strict=True), color=colour, linewidth=1.4, alpha=0.5)
        axes.plot(confidence, accuracy, "o-", color=colour, linewidth=1.2, markersize=6, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("probability of the genre given", fontsize=9, color=style.ink)
    axes.set_ylabel("share that is right", fontsize=9, color=style.ink)
    axes.grid(color=style.faint, linewidth=0.6, alpha=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False, fontsize=9, labelcolor=style.ink)
    return png(figure)


_SIZE_IN = (8.6, 4.6)
# Share of the figure; the names stand to the right of the axes.
_AXES_WIDTH = 0.7
_ENTRY_CHARACTERS = 30
# Okabe and Ito's colours, which stay apart for colour-blind readers; markers for those who see no colour.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
# Two points at the same cost stand side by side, with room for the numbers of both.
_APART_PX = 28.0


def accuracy_against_cost(compared: Mapping[str, Any], *, style: Style = LIGHT) -> bytes:
    """Draw track accuracies with 95 % intervals over the core seconds of a training, on a logarithmic axis.

    Where these were not measured for every entry, parameters take their place. Each interval has a number, by which the
    entry is named beside the axes.

    Args:
      compared: of `trainer.evaluation.comparison.compare_entries`, with at least one entry.
      style: colours of paper and ink.

    Returns:
      A PNG file.
    """
    entries = list(compared["entries"].values())
    figure = new_figure(_SIZE_IN, style)
    axes = figure.add_axes((0, 0, _AXES_WIDTH, 1))
    style_axes(axes, style)
    costs, meaning = _costs(entries)
    _set_up(axes, costs, meaning, compared, style)
    recipes = list(dict.fromkeys(entry["recipe"] for entry in entries))
    looks = {recipe: _look(number, style) for number, recipe in enumerate(recipes)}
    for number, (x, entry) in enumerate(zip(_side_by_side(axes, costs), entries, strict=True), start=1):
        _draw(axes, x, entry, number, looks[entry["recipe"]], style)
    names = [_name(number, entry) for number, entry in enumerate(entries, start=1)]
    above = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1), "ncols": 6}
    beside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "handletextpad": 0.2, "alignment": "left"}
    _add_legend(axes, list(looks.values()), recipes, style, title=None, **above)
    each = [looks[entry["recipe"]] for entry in entries]
    _add_legend(axes, each, names, style, title="model (parameters)", **beside)
    return png(figure)


def _costs(entries: Sequence[Mapping[str, Any]]) -> tuple[list[float], str]:
    """The cost of each entry, above 0, and what it is."""
    seconds = [entry["core_seconds"]["mean"] for entry in entries]
    if all(seconds):
        return seconds, "core seconds of one training"
    return [max(1.0, float(entry["parameters"])) for entry in entries], "parameters"


def _set_up(axes: Axes, costs: Sequence[float], meaning: str, compared: Mapping[str, Any], style: Style) -> None:
    chance = compared["data"]["chance"]
    limits = [limit for entry in compared["entries"].values() for limit in entry["interval"]]
    low, high = min(chance, *limits), max(limits)
    axes.set_xscale("log")
    # At least some octaves, with room at both ends for points that move apart.
    room = max(2.0, (max(costs) / min(costs)) ** 0.16)
    axes.set_xlim(min(costs) / room, max(costs) * room)
    axes.set_ylim(low - 0.06 * (high - low + 0.1), high + 0.06 * (high - low + 0.1))
    # Numbers between the powers of ten where there is room for them.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(costs) / min(costs) < 100 else (1,), numticks=20))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.12g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=(1, 2, 5, 10)))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.set_xlabel(meaning, fontsize=9, color=style.ink)
    axes.set_ylabel("track accuracy, 95 % interval", fontsize=9, color=style.ink)
    axes.grid(axis="y", color=style.faint, linewidth=0.6, alpha=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.axhline(chance, color=style.ink, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
    label: dict[str, Any] = {"xytext": (-2, 3), "textcoords": "offset points", "ha": "right", "fontsize": 8}
    axes.annotate("chance", (1, chance), xycoords=axes.get_yaxis_transform(), color=style.ink, **label)


def _side_by_side(axes: Axes, costs: Sequence[float]) -> list[float]:
    """The costs, moved apart by some pixels where their points would cover each other."""
    pixels = axes.transData.transform([(cost, 0.5) for cost in costs])[:, 0]
    order = np.argsort(pixels, kind="stable")
    breaks = np.flatnonzero(np.diff(pixels[order]) >= _APART_PX) + 1
    for near in np.split(order, breaks):
        if len(near) > 1:
            middle = pixels[near].mean()
            pixels[near] = middle + _APART_PX * (np.arange(len(near)) - (len(near) - 1) / 2)
    return axes.transData.inverted().transform([(x, 0.0) for x in pixels])[:, 0].tolist()


def _look(recipe: int, style: Style) -> dict[str, Any]:
    colour, marker = _COLOURS[recipe % len(_COLOURS)], _MARKERS[recipe % len(_MARKERS)]
    return {"color": colour, "marker": marker, "markersize": 7.5, "markeredgecolor": style.paper, "linestyle": "none"}


def _draw(axes: Axes, x: float, entry: Mapping[str, Any], number: int, look: Mapping[str, Any], style: Style) -> None:
    low, high = entry["interval"]
    # A percentile interval need not hold the accuracy itself.
    axes.plot([x, x], [low, high], color=look["color"], linewidth=1.6, alpha=0.55, marker="_", markersize=7, zorder=3)
    axes.plot([x], [entry["track_accuracy"]], **look, zorder=5)
    place: dict[str, Any] = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center", "fontsize": 7.5}
    axes.annotate(str(number), (x, max(high, entry["track_accuracy"])), color=style.ink, **place)


def _name(number: int, entry: Mapping[str, Any]) -> str:
    """The lines of the legend for an entry."""
    model = f"{number}  {shorten(entry['model'], _ENTRY_CHARACTERS)} ({_rounded(entry['parameters'])})"
    return f"{model}\n{shorten(entry['flags'], _ENTRY_CHARACTERS)}" if entry["flags"] else model


def _rounded(count: int) -> str:
    """A count as 950, 4.6 k, 196 k or 3.3 M."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= 0.9995 * size:
            return f"{count / size:.1f} {unit}" if count < 9.95 * size else f"{count / size:,.0f} {unit}"
    return str(count)


def _add_legend(
    axes: Axes, looks: Sequence[Mapping[str, Any]], names: Sequence[str], style: Style, **layout: Any
) -> None:
    handles = [axes.plot([], [], **look)[0] for look in looks]
    layout |= {"bbox_transform": axes.transAxes, "fontsize": 8.5, "title_fontsize": 8.5, "frameon": False}
    # Of the figure, which may have several.
    legend = axes.figure.legend(handles, names, labelcolor=style.ink, **layout)
    legend.get_title().set_color(style.ink)
    for text in legend.get_texts():
        text.set_parse_math(False)
