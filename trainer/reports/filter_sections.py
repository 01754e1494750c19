"""Sections of a report about what a model's filters have learned, as HTML."""

import dataclasses
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from beam_preprocess.log_mel import FrontEndConfig, band_centres_hz
from tfrecords.dataset import load
from tfrecords.reading import reading
from trainer.reports import filter_plots, filters, page
from trainer.reports.filters import FilterBank
from trainer.training_job import TrainingJob

_BATCH_SIZE = 256
_MARKED = 3  # Filters of each genre.
_LEAST_PX = 900  # On a narrow screen the pictures scroll: smaller, their text could not be read.


@dataclasses.dataclass(frozen=True, eq=False)
class _Drawn:
    """A bank of filters as a section shows it.

    Attributes:
      title: of the section.
      picture: HTML.
      note: below the picture.
      names: [filters] what each filter is for, in words.
      order: [filters] their numbers, as drawn.
    """

    title: str
    picture: str
    note: str
    names: list[str]
    order: np.ndarray


def filter_sections(
    job: TrainingJob, model: keras.Model, data_dir: str, parts: Sequence[str], *, run: str = ""
) -> list[str]:
    """Two sections for each kind of filters that are long in one direction only: what they are, and for which genres.

    Args:
      job: of the model.
      model: trained by it; other models than those with such filters give no section.
      data_dir: of the dataset.
      parts: whose patches tell which genres the filters answer to.
      run: words in the titles that tell this model from others on the page.

    Raises:
      UserError: the dataset cannot be read, or holds no patch.
    """
    sections = []
    for bank in filters.filter_banks(model):
        if bank.kind == filters.FREQUENCY or (bank.kind == filters.TIME and _has_tempos(job)):
            drawn = _rhythms(job, bank) if bank.kind == filters.TIME else _envelopes(job, bank)
            activity = filters.genre_activity(model, bank, _patches(job, data_dir, parts), len(job.labels))
            sections.append(page.section(f"{drawn.title}{run}", drawn.picture + page.note(drawn.note)))
            sections.append(_activity_section(job, bank, drawn, activity, parts, run))
    return sections


def _frames_per_s(job: TrainingJob) -> float:
    return FrontEndConfig(**job.front_end).frames_per_s


def _has_tempos(job: TrainingJob) -> bool:
    """Whether frames are close enough to tell any tempo."""
    return filters.fastest_bpm(_frames_per_s(job)) > filters.SLOWEST_BPM


def _patches(job: TrainingJob, data_dir: str, parts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    batches = load(
        data_dir, parts=parts, batch_size=_BATCH_SIZE, patch_frames=job.patch_frames, statistics=job.statistics
    )
    with reading():
        for patches, labels, _ in batches.as_numpy_iterator():
            yield patches, labels


def _rhythms(job: TrainingJob, bank: FilterBank) -> _Drawn:
    frames_per_s = _frames_per_s(job)
    weights = bank.weights[:, 0]
    found = filters.rhythms(weights, frames_per_s)
    frames, number = weights.shape
    fastest = filters.fastest_bpm(frames_per_s)
    noise = (fastest - filters.SLOWEST_BPM) / (60 * frames_per_s / 2)
    text = f"{page.count(number, 'filter')} along time with the tempo that each answers to most"
    note = (
        f"Each filter is {frames} frames ({frames / frames_per_s:.2f} s) long and one band high. "
        "Above: its weights over time, each to its own scale. Below: how strongly it answers to a pulse of "
        f"{filters.SLOWEST_BPM:.0f} to {fastest:.0f} beats a minute; the line is the peak, the shade the "
        f"{found.width_bpm:.0f} bpm within which so short a filter cannot tell tempos apart. After its number: "
        f"how much of its power lies in that range ({100 * noise:.0f} % for noise, as before training)."
    )
    draw = page.picture(lambda style: filter_plots.rhythm_grid(weights, found, style=style), text, _LEAST_PX)
    names = [filter_plots.tempo_name(bpm) for bpm in found.tempo_bpm]
    return _Drawn("Filters along time: rhythm", draw, note, names, np.argsort(found.tempo_bpm, kind="stable"))


def _envelopes(job: TrainingJob, bank: FilterBank) -> _Drawn:
    weights = bank.weights[0]
    bands, number = weights.shape
    centres_hz = band_centres_hz(FrontEndConfig(**job.front_end))
    heaviest = filters.heaviest_hz(weights, centres_hz)
    names = [filter_plots.hz_name(hz) for hz in heaviest]
    text = f"{page.count(number, 'filter')} along frequency with the band of each that weighs most"
    positions = len(centres_hz) - bands + 1
    note = (
        f"Each filter is {bands} of {len(centres_hz)} mel bands high and one frame long: its weights from low to high "
        "frequencies, each to its own scale, titled with the centre of the band that weighs most. "
        f"Frequencies are those of the lowest of its {page.count(positions, 'position')}"
        + (f"; at the highest, all lie {page.count(positions - 1, 'band')} further up." if positions > 1 else ".")
    )
    draw = page.picture(
        lambda style: filter_plots.envelope_grid(weights, centres_hz[:bands], names, style=style), text, _LEAST_PX
    )
    return _Drawn("Filters along frequency: spectrum", draw, note, names, np.argsort(heaviest, kind="stable"))


def _activity_section(
    job: TrainingJob, bank: FilterBank, drawn: _Drawn, activity: np.ndarray, parts: Sequence[str], run: str
) -> str:
    known = np.flatnonzero(~np.isnan(activity).any(axis=1))
    genres, ordered = [job.labels[label] for label in known], activity[known][:, drawn.order]
    scores, marks = filters.standardized(ordered), filters.top_filters(ordered, _MARKED)
    columns = [f"{drawn.names[number]} #{number}" for number in drawn.order]
    picture = page.picture(
        lambda style: filter_plots.activity_map(scores, genres, columns, marks, style=style),
        "Heat map of how strongly each filter answers to each genre; the most active are "
        + "; ".join(f"{genre}: {_listed(columns, own)}" for genre, own in zip(genres, marks, strict=True)),
        _LEAST_PX,
    )
    silent = int((ordered <= 0).all(axis=0).sum())
    note = (
        f"Mean activation of each filter, after ReLU, over each genre's patches in {', '.join(parts)}, "
        "in standard deviations from that filter's mean over the genres. Dots: up to three filters of each genre that "
        "answer to it more than to others." + (f" {page.count(silent, 'filter')} never answered." if silent else "")
    )
    what = "time" if bank.kind == filters.TIME else "frequency"
    return page.section(f"Filters along {what} and genres{run}", picture + page.note(note))


def _listed(columns: Sequence[str], own: Sequence[int]) -> str:
    return ", ".join(columns[column] for column in own) or "none"
