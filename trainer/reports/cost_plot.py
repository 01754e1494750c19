"""A picture of accuracy against cost: the entries of a comparison, each with its interval."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from tfrecords.plots import LIGHT, Style, new_figure, png, shorten, style_axes

_SIZE_IN = (8.6, 4.6)
# Share of the figure; the names stand to the right of the axes.
_AXES_WIDTH = 0.7
_NAME_CHARACTERS = 30
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
    model = f"{number}  {shorten(entry['model'], _NAME_CHARACTERS)} ({_rounded(entry['parameters'])})"
    return f"{model}\n{shorten(entry['flags'], _NAME_CHARACTERS)}" if entry["flags"] else model


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
