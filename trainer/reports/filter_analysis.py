"""Analysis of a model's filters: the tempo of those along time, the spectrum of those along frequency, their genres.

The paper's own question (Pons, Lidy and Serra, 2016): whether filters of such shapes learn musical concepts.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np

TIME, FREQUENCY, BOTH, NEITHER = "time", "frequency", "both", "neither"
SLOWEST_BPM, FASTEST_BPM = 30.0, 300.0
_STEP_BPM = 0.6  # At most, of the tempos: far below what a filter of the paper's lengths can resolve.
# Width at half power of a rectangular window's main lobe, in units of 1 / duration (Harris 1978, table 1).
_HALF_POWER_WIDTH = 0.89


@dataclass(frozen=True, eq=False)
class FilterBank:
    """The filters of one convolution on the model's input.

    Attributes:
      layer: the convolution's name.
      kind: TIME, filters one band high; FREQUENCY, one frame long; BOTH, larger than one in both directions; NEITHER,
        a single weight.
      weights: [frames, mel_bands, filters] float32.
    """

    layer: str
    kind: str
    weights: np.ndarray


@dataclass(frozen=True, eq=False)
class Rhythms:
    """How filters along time answer to pulses of every tempo.

    Attributes:
      grid_bpm: [tempos] beats a minute in even steps, SLOWEST_BPM to `fastest_bpm` of the frame rate.
      magnitudes: [tempos, filters], of the Fourier transform.
      tempo_bpm: [filters] where each magnitude is highest.
      share: [filters] of the power of all frequencies, which lies within the grid's tempos; a filter of noise has
        about the share that the grid has of all frequencies (0.21 at 43.07 frames a second).
      width_bpm: of the main lobe at half power: pulses nearer than that to the tempo pass as well.
    """

    grid_bpm: np.ndarray
    magnitudes: np.ndarray
    tempo_bpm: np.ndarray
    share: np.ndarray
    width_bpm: float


def filter_banks(model: keras.Model) -> list[FilterBank]:
    """Return the convolutions on the model's input, by the shape of their kernels, in the model's order."""
    banks = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.input is model.inputs[0]:
            weights = keras.ops.convert_to_numpy(layer.kernel)[:, :, 0, :].astype(np.float32)
            long, high = (size > 1 for size in weights.shape[:2])
            kind = (BOTH if high else TIME) if long else (FREQUENCY if high else NEITHER)
            banks.append(FilterBank(layer.name, kind, weights))
    return banks


def fastest_bpm(frames_per_s: float) -> float:
    """Return the fastest tempo that is looked for: FASTEST_BPM, or half the frame rate where that is slower."""
    return min(FASTEST_BPM, 60 * frames_per_s / 2)


def rhythms(weights: np.ndarray, frames_per_s: float) -> Rhythms:
    """Find the tempo that each filter along time answers to most, between SLOWEST_BPM and `fastest_bpm`.

    The magnitude of a filter's Fourier transform, its mean removed, is its answer to a pulse of that frequency. A
    filter is short, so the answer is coarse: the main lobe of one of 60 frames (1.39 s at 43.07 frames/s) is
    0.89 / 1.39 s = 0.64 Hz = 38 bpm wide at half power, 86 bpm from zero to zero, and tempos below 43 bpm are less
    than one period. The peak between two tempos of the grid is the parabola's through the three highest.

    Args:
      weights: [frames, filters], at least 2 frames.
      frames_per_s: of the front end; more than 1, for half of that is SLOWEST_BPM.
    """
    frames, fastest = len(weights), fastest_bpm(frames_per_s)
    centred = weights.astype(np.float64) - weights.mean(axis=0, dtype=np.float64)
    step = min(_STEP_BPM, 60 * frames_per_s / frames)
    grid = np.linspace(SLOWEST_BPM, fastest, max(3, math.ceil((fastest - SLOWEST_BPM) / step) + 1))
    # The transform at these tempos alone: of all frequencies, a high frame rate would have millions.
    angles = 2 * np.pi * np.outer(grid / 60, np.arange(frames) / frames_per_s)
    magnitudes = np.hypot(np.cos(angles) @ centred, np.sin(angles) @ centred)
    # Parseval: all power, from 0 to half the frame rate.
    whole = 60 * frames_per_s / 2 * np.square(centred).sum(axis=0)
    power = np.square(magnitudes)
    within = (grid[1] - grid[0]) * (power.sum(axis=0) - (power[0] + power[-1]) / 2)
    return Rhythms(
        grid_bpm=grid,
        magnitudes=magnitudes,
        tempo_bpm=_peaks(grid, magnitudes),
        share=within / np.maximum(whole, np.finfo(np.float64).tiny),
        width_bpm=60 * _HALF_POWER_WIDTH * frames_per_s / frames,
    )


def _peaks(grid: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Where each column of heights [points, columns] is highest on an even grid; not refined at the grid's ends."""
    top = heights.argmax(axis=0)
    inner = np.clip(top, 1, len(grid) - 2)
    before, at, after = (np.take_along_axis(heights, (inner + step)[np.newaxis], 0)[0] for step in (-1, 0, 1))
    bend = before - 2 * at + after
    refined = (top == inner) & (bend < 0)
    shift = np.where(refined, 0.5 * (before - after) / np.where(bend < 0, bend, -1), 0)
    return grid[top] + shift * (grid[1] - grid[0])


def genre_activity(
    model: keras.Model, bank: FilterBank, batches: Iterable[tuple[np.ndarray, np.ndarray]], num_labels: int
) -> np.ndarray:
    """Measure how strongly each filter answers to each genre: its highest activation after ReLU.

    Filters along time are max-pooled over the bands, those along frequency over the frames, as in the paper's models,
    and others over both; then follows the mean over the other direction.

    Args:
      model: the model that the filters belong to.
      bank: the filters.
      batches: of (patches [batch, frames, mel_bands, 1] float32, normalised, labels [batch] int).
      num_labels: how many labels there are.

    Returns:
      [labels, filters] float64, means over the genre's patches; NaN where a genre has no patch.
    """
    convolution = model.get_layer(bank.layer)
    pooled_axes = {TIME: (2,), FREQUENCY: (1,)}.get(bank.kind, (1, 2))
    sums, counts = np.zeros((num_labels, bank.weights.shape[2])), np.zeros((num_labels, 1))
    for patches, labels in batches:
        strongest = keras.ops.max(convolution(patches), axis=pooled_axes, keepdims=True)
        active = keras.ops.convert_to_numpy(strongest).mean(axis=(1, 2), dtype=np.float64)
        np.add.at(sums, labels, active)
        np.add.at(counts, labels, 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def standardized(activity: np.ndarray) -> np.ndarray:
    """Return activity [labels, filters] in standard deviations from each filter's mean; 0 where all are equal.

    NaN stays where a genre had no patch.
    """
    centred = activity - np.nanmean(activity, axis=0)
    spread = np.sqrt(np.nanmean(np.square(centred), axis=0))
    # What is left of equal values after rounding is no difference.
    alike = spread <= 1e-9 * np.nanmax(np.abs(activity), axis=0)
    return np.where(alike, 0 * centred, centred / np.where(alike, 1, spread))


def top_filters(activity: np.ndarray, count: int) -> list[list[int]]:
    """Return per genre the numbers of up to `count` filters of the highest standardised activity above the mean."""
    scores = np.nan_to_num(standardized(activity), nan=-1.0)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return [[int(number) for number in row if scores[label, number] > 0] for label, row in enumerate(order)]


def heaviest_hz(weights: np.ndarray, centres_hz: np.ndarray) -> np.ndarray:
    """Return, for filters along frequency [bands, filters], the centre [filters] in Hz of the band of highest weight.

    Args:
      weights: [bands, filters], of filters that lie on the lowest bands, as at the first of their positions.
      centres_hz: [mel_bands], of the front end's bands, at least as many as the filters have.
    """
    return centres_hz[weights.argmax(axis=0)]
