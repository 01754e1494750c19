"""Pictures of what a model's filters have learned, and the figures of a page that show them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from beam_preprocess.audio.front_end import FrontEndConfig, band_centres_hz
from tfrecords.common.terminal import shorten
from tfrecords.plots import LIGHT, Style, new_figure, png, style_axes
from tfrecords.reader import load, raise_shard_errors
from trainer.config import RESIZE
from trainer.reports import filter_analysis, page
from trainer.reports.filter_analysis import FASTEST_BPM, SLOWEST_BPM, FilterBank, Rhythms
from trainer.reports.formatting import count
from trainer.reports.page import Figure as PageFigure
from trainer.reports.page import Picture
from trainer.reports.plots import is_light
from trainer.training_job import TrainingJob

_COLUMNS = 8
# Of a small picture: its size, the height of the title above it, and the gap beside it.
_WIDTH_IN, _HEIGHT_IN, _TITLE_IN, _GAP_IN = 1.27, 0.97, 0.42, 0.14
_NAME_CHARACTERS = 24
# Okabe and Ito's blue and orange: they stay apart for colour-blind readers.
_MORE_ON_LIGHT, _LESS_ON_LIGHT = "#0072b2", "#d55e00"
_MORE_ON_DARK, _LESS_ON_DARK = "#56b4e9", "#e69f00"
_MOST_DEVIATIONS = 2.5  # Where the heat map's colours end.
_TICKS_BPM = (60, 120, 180, 240)
_TICKS_HZ = (250, 1000, 2000, 4000, 8000)  # On the mel scale lower octaves would touch.
_BATCH_SIZE = 256
_MARKED = 3  # Filters of each genre.
_LEAST_PX = 900  # On a narrow screen the pictures scroll: smaller, their text could not be read.


def rhythm_grid(weights: np.ndarray, rhythms: Rhythms, *, style: Style = LIGHT) -> bytes:
    """Draw filters along time, the slowest first: above, the weights over seconds; below, the answer to each tempo.

    The shade behind the peak is as wide as the main lobe at half power: the tempo is known no better.

    Args:
      weights: [frames, filters]; each filter is drawn to a scale of its own.
      rhythms: of these filters.
      style: colours of paper and ink.

    Returns:
      A PNG file.
    """
    order = np.argsort(rhythms.tempo_bpm, kind="stable")
    figure, axes = _canvas(len(order), style)
    for number, cell in zip(order, _cells(len(order)), strict=True):
        _draw_signed(axes, cell.upper(0.52), weights[:, number], style)
        _title(axes, cell, tempo_name(rhythms.tempo_bpm[number]), f"#{number} · {rhythms.share[number]:.0%}", style)
        _draw_tempos(axes, cell.lower(0.46), rhythms, int(number), style)
        if cell.last:
            ticks = _ticks_bpm(rhythms)
            _tick_labels(axes, cell, _tempo_places(ticks, cell.left, rhythms), [f"{bpm:.0f}" for bpm in ticks], style)
    return png(figure)


def envelope_grid(weights: np.ndarray, centres_hz: np.ndarray, names: Sequence[str], *, style: Style = LIGHT) -> bytes:
    """Draw filters along frequency, the one with the lowest heaviest band first: weights over mel bands, named in Hz.

    Args:
      weights: [bands, filters]; each filter is drawn to a scale of its own.
      centres_hz: [bands] rising, of the bands that the filters lie on.
      names: [filters] titles.
      style: colours of paper and ink.

    Returns:
      A PNG file.
    """
    order = np.argsort(weights.argmax(axis=0), kind="stable")
    figure, axes = _canvas(len(order), style)
    inside = [hz for hz in _TICKS_HZ if centres_hz[0] <= hz <= centres_hz[-1]]
    shares = np.interp(inside, centres_hz, np.linspace(0, 1, len(centres_hz)))
    for number, cell in zip(order, _cells(len(order)), strict=True):
        _draw_signed(axes, cell.upper(1), weights[:, number], style)
        _title(axes, cell, names[number], f"#{number}", style)
        places = [cell.left + _WIDTH_IN * share for share in shares]
        axes.vlines(places, cell.bottom, cell.bottom + 0.03, color=style.ink, linewidth=0.6)
        if cell.last:
            _tick_labels(axes, cell, places, list(map(_short_hz, inside)), style)
    return png(figure)


def activity_map(
    scores: np.ndarray, genres: Sequence[str], columns: Sequence[str], marks: Sequence[Sequence[int]], *, style: Style
) -> bytes:
    """Draw a heat map of genres against filters; the filters that a genre marks are dotted.

    Args:
      scores: [genres, filters], standard deviations from the filter's mean over genres.
      genres: [genres] names.
      columns: [filters] names.
      marks: for each genre the columns to dot.
      style: colours of paper and ink.

    Returns:
      A PNG file.
    """
    rows, width_in = len(genres), _COLUMNS * (_WIDTH_IN + _GAP_IN) - 1.6
    height_in = max(0.9, 0.27 * rows)
    figure = new_figure((width_in, height_in), style)
    axes = figure.add_axes((0, 0, 1, 1))
    limit = _MOST_DEVIATIONS
    image = axes.imshow(scores, _diverging(style), vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    style_axes(axes, style)
    names = [shorten(name, _NAME_CHARACTERS) for name in genres]
    axes.set_yticks(range(rows), names, fontsize=9, parse_math=False)
    axes.set_xticks(range(len(columns)), columns, fontsize=7, rotation=90)
    axes.tick_params(length=0, pad=4)
    dots = [(column, row) for row, columns_of_row in enumerate(marks) for column in columns_of_row]
    if dots:
        across, down = zip(*dots, strict=True)
        axes.scatter(across, down, s=14, color=style.ink, edgecolors=style.paper, linewidths=0.6)
    bar = figure.colorbar(image, cax=figure.add_axes((1 + 0.12 / width_in, 0, 0.11 / width_in, 1)), extend="both")
    bar.set_label("standard deviations", fontsize=8, color=style.ink)
    style_axes(bar.ax, style)
    bar.outline.set_visible(False)
    return png(figure)


def tempo_name(bpm: float) -> str:
    """Return a tempo in words; at the ends of the range the real peak may lie beyond."""
    sign = "\N{LESS-THAN OR EQUAL TO} " if bpm <= SLOWEST_BPM + 1 else ""
    sign = "\N{GREATER-THAN OR EQUAL TO} " if bpm >= FASTEST_BPM - 1 else sign
    return f"{sign}{bpm:.0f} bpm"


def hz_name(hz: float) -> str:
    """Return a frequency in words.

    Example:
      >>> hz_name(81.2), hz_name(1234)
      ('81 Hz', '1.2 kHz')
    """
    return f"{hz:.0f} Hz" if hz < 1000 else f"{hz / 1000:.1f} kHz"


def _short_hz(hz: int) -> str:
    return str(hz) if hz < 1000 else f"{hz // 1000}k"


@dataclass(frozen=True)
class _Box:
    """A rectangle on the canvas, in inches."""

    left: float
    bottom: float
    height: float


@dataclass(frozen=True)
class _Cell:
    """Where one small picture lies, in inches; its title is above. `last`: no other is below."""

    left: float
    bottom: float
    last: bool

    def upper(self, share: float) -> _Box:
        """Its top part, a share of its height."""
        return _Box(self.left, self.bottom + (1 - share) * _HEIGHT_IN, share * _HEIGHT_IN)

    def lower(self, share: float) -> _Box:
        """Its bottom part, a share of its height."""
        return _Box(self.left, self.bottom, share * _HEIGHT_IN)


def _canvas(number: int, style: Style) -> tuple[Figure, Axes]:
    """Axes in inches for so many small pictures: with axes for each of them, drawing would take five times as long."""
    columns, rows = min(number, _COLUMNS), math.ceil(number / _COLUMNS)
    size_in = (columns * (_WIDTH_IN + _GAP_IN) - _GAP_IN, rows * (_HEIGHT_IN + _TITLE_IN) - _TITLE_IN + 0.25)
    figure = new_figure(size_in, style)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, size_in[0]), ylim=(0, size_in[1]))
    axes.set_axis_off()
    return figure, axes


def _cells(number: int) -> Iterator[_Cell]:
    rows = math.ceil(number / _COLUMNS)
    for index in range(number):
        row, column = divmod(index, _COLUMNS)
        left, bottom = column * (_WIDTH_IN + _GAP_IN), (rows - 1 - row) * (_HEIGHT_IN + _TITLE_IN)
        yield _Cell(left, bottom, index + _COLUMNS >= number)


def _title(axes: Axes, cell: _Cell, left: str, right: str, style: Style) -> None:
    top = cell.bottom + _HEIGHT_IN + 0.07
    axes.text(cell.left, top, left, fontsize=8, fontweight="bold", color=style.ink)
    axes.text(cell.left + _WIDTH_IN, top, right, fontsize=6.5, ha="right", color=style.ink, alpha=0.75)


def _tick_labels(axes: Axes, cell: _Cell, places: Iterable[float], texts: Sequence[str], style: Style) -> None:
    for place, text in zip(places, texts, strict=True):
        axes.text(place, cell.bottom - 0.06, text, fontsize=6.5, ha="center", va="top", color=style.ink)


def _draw_signed(axes: Axes, box: _Box, weights: np.ndarray, style: Style) -> None:
    more, less = _pair(style)
    zero = box.bottom + box.height / 2
    x = np.linspace(box.left, box.left + _WIDTH_IN, len(weights))
    y = zero + _at_most_one(weights) * box.height / 2
    axes.fill_between(x, np.maximum(y, zero), zero, color=more, linewidth=0)
    axes.fill_between(x, np.minimum(y, zero), zero, color=less, linewidth=0)
    axes.plot(x, y, color=style.ink, linewidth=0.5)
    axes.hlines(zero, box.left, box.left + _WIDTH_IN, color=style.faint, linewidth=0.5, zorder=0)


def _at_most_one(values: np.ndarray) -> np.ndarray:
    largest = float(np.abs(values).max())
    return values / largest if largest > 0 else values


def _tempo_places(bpm: ArrayLike, left: float, rhythms: Rhythms) -> np.ndarray:
    """Where tempos lie across a picture, whose edges are those of the grid."""
    slowest, fastest = rhythms.grid_bpm[[0, -1]]
    return left + _WIDTH_IN * (np.asarray(bpm) - slowest) / (fastest - slowest)


def _ticks_bpm(rhythms: Rhythms) -> list[float]:
    return [bpm for bpm in _TICKS_BPM if bpm <= rhythms.grid_bpm[-1]]


def _draw_tempos(axes: Axes, box: _Box, rhythms: Rhythms, number: int, style: Style) -> None:
    more, _ = _pair(style)
    heights, tempo, top = rhythms.magnitudes[:, number], rhythms.tempo_bpm[number], box.bottom + box.height
    near = np.clip([tempo - rhythms.width_bpm / 2, tempo + rhythms.width_bpm / 2], *rhythms.grid_bpm[[0, -1]])
    left, right, at = _tempo_places([*near, tempo], box.left, rhythms)
    axes.fill_between([left, right], box.bottom, top, color=more, alpha=0.22, linewidth=0)
    y = box.bottom + _at_most_one(heights) * 0.93 * box.height
    axes.plot(_tempo_places(rhythms.grid_bpm, box.left, rhythms), y, color=style.ink, linewidth=0.9)
    axes.vlines(at, box.bottom, top, color=more, linewidth=1.4)
    axes.hlines(box.bottom, box.left, box.left + _WIDTH_IN, color=style.faint, linewidth=0.8)
    ticks = _tempo_places(_ticks_bpm(rhythms), box.left, rhythms)
    axes.vlines(ticks, box.bottom, box.bottom + 0.03, color=style.ink, linewidth=0.6)


def _pair(style: Style) -> tuple[str, str]:
    return (_MORE_ON_LIGHT, _LESS_ON_LIGHT) if is_light(style.paper) else (_MORE_ON_DARK, _LESS_ON_DARK)


def _diverging(style: Style) -> LinearSegmentedColormap:
    more, less = _pair(style)
    return LinearSegmentedColormap.from_list("deviations", [less, style.paper, more])


@dataclass(frozen=True, eq=False)
class _DrawnBank:
    """A bank of filters, drawn.

    Attributes:
      title: of its figure.
      picture: of its filters.
      note: below the picture.
      names: [filters] what each filter is for, in words.
      order: [filters] their numbers, as drawn.
    """

    title: str
    picture: Picture
    note: str
    names: list[str]
    order: np.ndarray


def filter_figures(
    job: TrainingJob, model: keras.Model, data_dir: str, parts: Sequence[str], *, run: str = ""
) -> list[PageFigure]:
    """Draw the filters that are long in one direction only: what they are, and which genres they answer to.

    Two figures for each kind of filters.

    Args:
      job: the training of the model.
      model: the trained model; one without such filters gives no figure, nor do filters along time where there is no
        tempo to tell.
      data_dir: the dataset.
      parts: the parts whose patches tell which genres the filters answer to.
      run: words in the titles that tell this model from others on the page.

    Raises:
      UserError: the dataset cannot be read, or holds no patch.
    """
    figures = []
    for bank in filter_analysis.filter_banks(model):
        if bank.kind == filter_analysis.FREQUENCY or (bank.kind == filter_analysis.TIME and _has_tempos(job)):
            drawn = _draw_rhythms(job, bank) if bank.kind == filter_analysis.TIME else _draw_envelopes(job, bank)
            activity = filter_analysis.genre_activity(model, bank, _patches(job, data_dir, parts), len(job.labels))
            figures.append(PageFigure(f"{drawn.title}{run}", drawn.picture, drawn.note))
            figures.append(_activity_figure(job, bank, drawn, activity, parts, run))
    return figures


def _frames_per_s(job: TrainingJob) -> float:
    return FrontEndConfig(**job.front_end).frames_per_s


def _has_tempos(job: TrainingJob) -> bool:
    """Whether frames are close enough to tell any tempo; of resized clips, each has a frame rate of its own."""
    return job.patch_mode != RESIZE and filter_analysis.fastest_bpm(_frames_per_s(job)) > filter_analysis.SLOWEST_BPM


def _patches(job: TrainingJob, data_dir: str, parts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    batches = load(
        data_dir,
        parts=parts,
        batch_size=_BATCH_SIZE,
        patch_frames=job.patch_frames,
        patch_mode=job.evaluation_mode,
        statistics=job.statistics,
    )
    with raise_shard_errors():
        for patches, labels, _ in batches.as_numpy_iterator():
            yield patches, labels


def _draw_rhythms(job: TrainingJob, bank: FilterBank) -> _DrawnBank:
    frames_per_s = _frames_per_s(job)
    weights = bank.weights[:, 0]
    rhythms = filter_analysis.rhythms(weights, frames_per_s)
    frames, number = weights.shape
    fastest = filter_analysis.fastest_bpm(frames_per_s)
    noise = (fastest - filter_analysis.SLOWEST_BPM) / (60 * frames_per_s / 2)
    text = f"{count(number, 'filter')} along time with the tempo that each answers to most"
    note = (
        f"Each filter is {frames} frames ({frames / frames_per_s:.2f} s) long and one band high. "
        "Above: its weights over time, each to its own scale. Below: how strongly it answers to a pulse of "
        f"{filter_analysis.SLOWEST_BPM:.0f} to {fastest:.0f} beats a minute; the line is the peak, the shade the "
        f"{rhythms.width_bpm:.0f} bpm within which so short a filter cannot tell tempos apart. After its number: "
        f"how much of its power lies in that range ({100 * noise:.0f} % for noise, as before training)."
    )
    picture = page.picture(lambda style: rhythm_grid(weights, rhythms, style=style), text, _LEAST_PX)
    names = [tempo_name(bpm) for bpm in rhythms.tempo_bpm]
    return _DrawnBank("Filters along time: rhythm", picture, note, names, np.argsort(rhythms.tempo_bpm, kind="stable"))


def _draw_envelopes(job: TrainingJob, bank: FilterBank) -> _DrawnBank:
    weights = bank.weights[0]
    bands, number = weights.shape
    centres_hz = band_centres_hz(FrontEndConfig(**job.front_end))
    heaviest = filter_analysis.heaviest_hz(weights, centres_hz)
    names = [hz_name(hz) for hz in heaviest]
    text = f"{count(number, 'filter')} along frequency with the band of each that weighs most"
    positions = len(centres_hz) - bands + 1
    note = (
        f"Each filter is {bands} of {len(centres_hz)} mel bands high and one frame long: its weights from low to high "
        "frequencies, each to its own scale, titled with the centre of the band that weighs most. "
        f"Frequencies are those of the lowest of its {count(positions, 'position')}"
        + (f"; at the highest, all lie {count(positions - 1, 'band')} further up." if positions > 1 else ".")
    )
    picture = page.picture(
        lambda style: envelope_grid(weights, centres_hz[:bands], names, style=style), text, _LEAST_PX
    )
    return _DrawnBank("Filters along frequency: spectrum", picture, note, names, np.argsort(heaviest, kind="stable"))


def _activity_figure(
    job: TrainingJob, bank: FilterBank, drawn: _DrawnBank, activity: np.ndarray, parts: Sequence[str], run: str
) -> PageFigure:
    known = np.flatnonzero(~np.isnan(activity).any(axis=1))
    genres, ordered = [job.labels[label] for label in known], activity[known][:, drawn.order]
    scores, marks = filter_analysis.standardized(ordered), filter_analysis.top_filters(ordered, _MARKED)
    columns = [f"{drawn.names[number]} #{number}" for number in drawn.order]
    picture = page.picture(
        lambda style: activity_map(scores, genres, columns, marks, style=style),
        "Heat map of how strongly each filter answers to each genre; the most active are "
        + "; ".join(f"{genre}: {_name_columns(columns, marked)}" for genre, marked in zip(genres, marks, strict=True)),
        _LEAST_PX,
    )
    silent = int((ordered <= 0).all(axis=0).sum())
    note = (
        f"Mean activation of each filter, after ReLU, over each genre's patches in {', '.join(parts)}, "
        "in standard deviations from that filter's mean over the genres. Dots: up to three filters of each genre that "
        "answer to it more than to others." + (f" {count(silent, 'filter')} never answered." if silent else "")
    )
    what = "time" if bank.kind == filter_analysis.TIME else "frequency"
    return PageFigure(f"Filters along {what} and genres{run}", picture, note)


def _name_columns(columns: Sequence[str], marked: Sequence[int]) -> str:
    return ", ".join(columns[column] for column in marked) or "none"
