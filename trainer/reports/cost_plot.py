"""A picture of what accuracy costs: the entries of a comparison, each with its interval, over their cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from tfrecords.plots import LIGHT, PIXELS_PER_INCH, Style, new_figure, png, shorten, style_axes
from trainer.reports.label_places import place_labels

_SIZE_IN = (8.6, 4.6)
_NAME_CHARACTERS = 44
# Okabe and Ito's colours, which stay apart for colour-blind readers; with forms, for those who see none.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_FORMS = ("o", "s", "^", "D", "v", "P")
_MARKER_PX, _BAR_PX, _LEADER_PX = 22.0, 12.0, 30.0
# Two points at the same cost stand side by side.
_APART_PX = 26.0


def accuracy_against_cost(compared: Mapping[str, Any], *, style: Style = LIGHT) -> bytes:
    """Draws track accuracies with 95 % intervals over the core seconds of a training, on a logarithmic axis.

    Where these were not measured for every entry, parameters take their place.

    Args:
      compared: of trainer.cross_validation.compared.compared, with at least one entry.
      style: colours of paper and ink.

    Returns:
      A PNG file.
    """
    entries = list(compared["entries"].values())
    figure = new_figure(_SIZE_IN, style)
    axes = figure.add_axes((0, 0, 1, 1))
    style_axes(axes, style)
    costs, meaning = _costs(entries)
    timed = meaning != "parameters"
    _set_up(axes, costs, meaning, compared, style)
    xs = _side_by_side(axes, costs)
    recipes = list(dict.fromkeys(entry["recipe"] for entry in entries))
    for x, entry in zip(xs, entries, strict=True):
        _draw(axes, x, entry, recipes.index(entry["recipe"]), style)
    names = [_name(entry, with_parameters=timed) for entry in entries]
    _name_points(axes, xs, names, entries, recipes, style)
    looks = [_look(number, style) for number in range(len(recipes))]
    handles = [axes.plot([], [], **look)[0] for look in looks]
    where: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1), "ncols": 6, "frameon": False}
    axes.legend(handles, recipes, fontsize=9, labelcolor=style.ink, **where)
    return png(figure)


def _costs(entries: Sequence[Mapping[str, Any]]) -> tuple[list[float], str]:
    """Of each entry, above 0, and what they are."""
    seconds = [entry["core_seconds"]["mean"] for entry in entries]
    if all(seconds):
        return seconds, "core seconds of one training (below the names: parameters)"
    return [max(1.0, float(entry["parameters"])) for entry in entries], "parameters"


def _set_up(axes: Axes, costs: Sequence[float], meaning: str, compared: Mapping[str, Any], style: Style) -> None:
    chance = compared["data"]["chance"]
    limits = [limit for entry in compared["entries"].values() for limit in entry["interval"]]
    low, high = min(chance, *limits), max(limits)
    axes.set_xscale("log")
    # At least some octaves, with room for the names at both ends.
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
    """The costs, those that would cover each other moved apart by some pixels."""
    pixels = axes.transData.transform([(cost, 0.5) for cost in costs])[:, 0]
    order = np.argsort(pixels, kind="stable")
    breaks = np.flatnonzero(np.diff(pixels[order]) >= _APART_PX) + 1
    for near in np.split(order, breaks):
        if len(near) > 1:
            middle = pixels[near].mean()
            pixels[near] = middle + _APART_PX * (np.arange(len(near)) - (len(near) - 1) / 2)
    return axes.transData.inverted().transform([(x, 0.0) for x in pixels])[:, 0].tolist()


def _look(recipe: int, style: Style) -> dict[str, Any]:
    colour, form = _COLOURS[recipe % len(_COLOURS)], _FORMS[recipe % len(_FORMS)]
    return {"color": colour, "marker": form, "markersize": 7.5, "markeredgecolor": style.paper, "linestyle": "none"}


def _draw(axes: Axes, x: float, entry: Mapping[str, Any], recipe: int, style: Style) -> None:
    look = _look(recipe, style)
    low, high = entry["interval"]
    accuracy = entry["track_accuracy"]
    # A percentile interval need not hold the accuracy itself.
    axes.plot([x, x], [low, high], color=look["color"], linewidth=1.6, alpha=0.55, marker="_", markersize=7, zorder=3)
    axes.plot([x], [accuracy], **look, zorder=5)


def _name(entry: Mapping[str, Any], *, with_parameters: bool) -> str:
    """Lines that tell an entry from others of its recipe."""
    lines = [shorten(entry["model"], _NAME_CHARACTERS)]
    if entry["flags"]:
        lines.append(shorten(entry["flags"], _NAME_CHARACTERS))
    if with_parameters:
        lines.append(_rounded(entry["parameters"]))
    return "\n".join(lines)


def _rounded(count: int) -> str:
    """A count as 950, 4.6 k, 196 k or 3.3 M."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= 0.9995 * size:
            return f"{count / size:.1f} {unit}" if count < 9.95 * size else f"{count / size:,.0f} {unit}"
    return str(count)


def _name_points(
    axes: Axes,
    xs: Sequence[float],
    names: Sequence[str],
    entries: Sequence[Mapping[str, Any]],
    recipes: Sequence[str],
    style: Style,
) -> None:
    """Writes a name near each point; a line leads to one that had to go further away."""

    def pixels(values: Sequence[float]) -> np.ndarray:
        return axes.transData.transform(np.stack([xs, values], axis=1))

    points = pixels([entry["track_accuracy"] for entry in entries])
    lows, highs = (pixels([entry["interval"][end] for entry in entries]) for end in (0, 1))
    half = np.array([_BAR_PX / 2, 0])
    bars = np.concatenate([lows - half, highs + half], axis=1)
    markers = np.concatenate([points - _MARKER_PX / 2, points + _MARKER_PX / 2], axis=1)
    # Where a name has to cross a bar, it stays readable.
    looks: dict[str, Any] = {
        "fontsize": 8.5,
        "linespacing": 1.0,
        "parse_math": False,
        "zorder": 6,
        "path_effects": [withStroke(linewidth=2.5, foreground=style.paper)],
    }
    sizes = np.array([_size(axes, name, looks) for name in names])
    frame = axes.get_window_extent()
    bounds = np.array([frame.x0, frame.y0, frame.x1, frame.y1])
    chosen = place_labels(points, sizes, np.concatenate([bars, markers]), bounds)
    for name, entry, corner, size, point in zip(names, entries, chosen, sizes, points, strict=True):
        nearest = np.clip(point, corner, corner + size)
        leader: dict[str, Any] = {"arrowstyle": "-", "color": style.ink, "linewidth": 0.5, "alpha": 0.6, "shrinkA": 0}
        leader |= {"shrinkB": 4, "relpos": tuple((nearest - corner) / size)}
        axes.annotate(
            name,
            tuple(axes.transData.inverted().transform(point)),
            tuple((corner - point) * 72 / PIXELS_PER_INCH),
            textcoords="offset points",
            arrowprops=leader if np.linalg.norm(nearest - point) > _LEADER_PX else None,
            va="bottom",
            color=_ink_of(_look(recipes.index(entry["recipe"]), style)["color"], style),
            **looks,
        )


def _size(axes: Axes, text: str, looks: Mapping[str, Any]) -> tuple[float, float]:
    """Width and height of a text, in pixels."""
    drawn = axes.text(0, 0, text, transform=None, **looks)
    extent = drawn.get_window_extent()
    drawn.remove()
    return extent.width, extent.height


def _ink_of(colour: str, style: Style) -> tuple[float, ...]:
    """A colour that can be read, between that of a point and the ink."""
    return tuple(0.6 * np.array(to_rgb(colour)) + 0.4 * np.array(to_rgb(style.ink)))
