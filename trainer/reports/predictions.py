"""The page of a named collection: its genres, how sure the model is of them, and what could not be named."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tfrecords.common.terminal import shorten
from tfrecords.plots import LIGHT, Style, new_figure, png, style_axes
from trainer.reports import page
from trainer.reports.formatting import count, percent
from trainer.reports.page import Figure
from trainer.reports.plots import is_light

_NAME_CHARACTERS = 28
_MOST_GENRES = 40
_BAR_ON_LIGHT, _BAR_ON_DARK = "#0072b2", "#56b4e9"


def render(predictions: Mapping[str, Any]) -> str:
    """Return the page of a collection as HTML.

    Args:
      predictions: the content of predictions.json.
    """
    named = sorted(predictions["named"].items(), key=lambda item: (-item[1], item[0]))
    tracks, rejects = sum(count for _, count in named), predictions["rejects"]
    confidence = np.sum([*predictions["confidence"].values(), [0] * _steps(predictions)], axis=0)
    facts = {
        "Tracks named": f"{tracks}",
        "Audio": f"{predictions['audio_s'] / 3600:.1f} hours",
        "Silent, without a genre": f"{predictions['notes'].get('silent', 0)}",
        "Channels that cancel": f"{predictions['notes'].get('channels cancel', 0)}",
        "Refused": f"{sum(rejects.values())}",
        "Model": f"{predictions['model']}, {predictions['model_fingerprint'][:12]}",
        "Embeddings": "yes" if predictions["embedding"] else "no",
    }
    return page.render(
        "predictions.html",
        title=f"A collection of {count(tracks, 'track')}",
        heading="Genres of a collection",
        facts=facts,
        genres=[(label, number, number / tracks, predictions["mean_probability"][label]) for label, number in named],
        figures=[_genres(named), _confidence(confidence)] if tracks else [],
        rejects=sorted(rejects.items(), key=lambda item: (-item[1], item[0])),
    )


def _steps(predictions: Mapping[str, Any]) -> int:
    return max(map(len, predictions["confidence"].values()), default=1)


def _genres(named: Sequence[tuple[str, int]]) -> Figure:
    shown = named[:_MOST_GENRES]
    text = f"Tracks by genre: {', '.join(f'{label} {number}' for label, number in shown)}"
    drawn = page.picture(lambda style: genres_chart(shown, style=style), text, 480)
    more = len(named) - len(shown)
    return Figure("Genres", drawn, f"{more} rarer genres are not drawn." if more else "")


def _confidence(counts: np.ndarray) -> Figure:
    median = percent(float(np.searchsorted(np.cumsum(counts), counts.sum() / 2) + 0.5) / len(counts))
    drawn = page.picture(
        lambda style: confidence_histogram(counts, style=style),
        f"Histogram of the probability of each track's genre; half of the tracks are below about {median}.",
        480,
    )
    note = f"The probability of the genre that each track was given; half of the tracks are below about {median}."
    return Figure("How sure the model is", drawn, note)


def genres_chart(named: Sequence[tuple[str, int]], *, style: Style = LIGHT) -> bytes:
    """Draw the number of tracks of each genre as bars, from top to bottom in the order given.

    Args:
      named: (label, tracks).
      style: colours of paper and ink.

    Returns:
      A PNG file.
    """
    figure = new_figure((6.4, 0.6 + 0.28 * len(named)), style)
    axes = figure.add_axes((0, 0, 1, 1))
    style_axes(axes, style)
    places = np.arange(len(named))
    bars = axes.barh(places, [number for _, number in named], color=_bar(style), height=0.72)
    axes.bar_label(bars, padding=3, fontsize=8.5, color=style.ink)
    names = [shorten(label, _NAME_CHARACTERS) for label, _ in named]
    axes.set_yticks(places, names, fontsize=9, parse_math=False)
    axes.set(ylim=(len(named) - 0.4, -0.6))
    axes.margins(x=0.08)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("tracks", fontsize=9, color=style.ink)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def confidence_histogram(counts: np.ndarray, *, style: Style = LIGHT) -> bytes:
    """Draw how many tracks have a probability in each of equal steps from 0 to 1.

    Args:
      counts: [steps] tracks.
      style: colours of paper and ink.

    Returns:
      A PNG file.
    """
    figure = new_figure((6.4, 2.6), style)
    axes = figure.add_axes((0, 0, 1, 1))
    style_axes(axes, style)
    step = 1 / len(counts)
    axes.bar(np.arange(len(counts)) * step, counts, width=0.92 * step, align="edge", color=_bar(style))
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("probability of the track's genre", fontsize=9, color=style.ink)
    axes.set_ylabel("tracks", fontsize=9, color=style.ink)
    axes.grid(axis="y", color=style.faint, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def _bar(style: Style) -> str:
    return _BAR_ON_LIGHT if is_light(style.paper) else _BAR_ON_DARK
