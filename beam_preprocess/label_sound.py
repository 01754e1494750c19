"""Properties of each label's audio that are not musical, and warnings where a model could learn these instead.

If all tracks of one genre are 8 kHz files, a model learns to recognize 8 kHz.
"""

import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from beam_preprocess.audio.measure import TrackSound
from tfrecords.common.terminal import first_few

# Bandwidths are counted in steps of this many Hz.
_STEP_HZ = 250
# Bandwidths with a ratio below this set labels apart.
_MAX_RATIO = 0.8
# Share of a label's tracks that must have one sample rate for it to count as the label's.
_MIN_SHARE = 0.9


@dataclasses.dataclass
class LabelSound:
    """Counts over the tracks of one label; those of several shards can be added.

    Attributes:
      sample_rates: sample rate of the file, in Hz -> tracks.
      bandwidths_hz: highest frequency with sound, in steps of 250 Hz -> tracks; silent tracks are left out.
      cancelled: tracks whose channels cancel.
      far_beyond_full_scale: tracks with samples many times as large as full scale.
    """

    sample_rates: Counter[int] = dataclasses.field(default_factory=Counter)
    bandwidths_hz: Counter[int] = dataclasses.field(default_factory=Counter)
    cancelled: int = 0
    far_beyond_full_scale: int = 0

    def add(self, sound: TrackSound) -> None:
        """Count a track."""
        self.sample_rates[sound.sample_rate] += 1
        if sound.bandwidth_hz:
            self.bandwidths_hz[round(sound.bandwidth_hz / _STEP_HZ) * _STEP_HZ] += 1
        self.cancelled += sound.cancels
        self.far_beyond_full_scale += sound.far_beyond_full_scale

    def update(self, other: "LabelSound") -> None:
        """Add the counts of other tracks of the label."""
        self.sample_rates.update(other.sample_rates)
        self.bandwidths_hz.update(other.bandwidths_hz)
        self.cancelled += other.cancelled
        self.far_beyond_full_scale += other.far_beyond_full_scale

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain values, in a fixed order."""
        return {
            "sample_rates": dict(sorted(self.sample_rates.items())),
            "bandwidths_hz": dict(sorted(self.bandwidths_hz.items())),
            "cancelled": self.cancelled,
            "far_beyond_full_scale": self.far_beyond_full_scale,
        }


def merged(sounds: Iterable[Mapping[str, LabelSound]]) -> dict[str, LabelSound]:
    """Return label -> counts over all shards, sorted by label."""
    totals: dict[str, LabelSound] = {}
    for shard_sounds in sounds:
        for label, sound in shard_sounds.items():
            totals.setdefault(label, LabelSound()).update(sound)
    return dict(sorted(totals.items()))


def warnings(sounds: Mapping[str, LabelSound], sample_rate: int) -> list[str]:
    """Return a line for each problem that silences tracks or sets labels apart.

    Args:
      sounds: label -> counts.
      sample_rate: of the front end, in Hz; frequencies above half of it are lost.
    """
    return [
        *_counted(
            {label: sound.cancelled for label, sound in sounds.items()},
            "have channels that cancel, so that their mean, which the model is given, is silent",
            "invert the polarity of one channel, or keep one",
        ),
        *_counted(
            {label: sound.far_beyond_full_scale for label, sound in sounds.items()},
            "have samples far beyond full scale, such as floats in the range of 16-bit integers",
            "scale them to -1 ... 1",
        ),
        *_labels_apart(sounds, sample_rate),
    ]


def _counted(tracks: Mapping[str, int], what: str, advice: str) -> list[str]:
    by_label = first_few([f"{label} {count}" for label, count in tracks.items() if count])
    return [f"{sum(tracks.values())} tracks {what} ({by_label}); {advice}"] if by_label else []


def _labels_apart(sounds: Mapping[str, LabelSound], sample_rate: int) -> list[str]:
    bandwidths = {
        label: min(statistics.median(sound.bandwidths_hz.elements()), sample_rate / 2)
        for label, sound in sounds.items()
        if sound.bandwidths_hz
    }
    lines = []
    for label, hz in bandwidths.items():
        others = [other for name, other in bandwidths.items() if name != label]
        apart = [other for other in others if hz < _MAX_RATIO * other or other < _MAX_RATIO * hz]
        # Of two labels that differ, the narrower one is named.
        if 2 * len(apart) > len(others) and (len(others) > 1 or hz < others[0]):
            usual = statistics.median(apart)
            lines.append(
                f"{label} has sound up to {hz / 1000:.1f} kHz, other labels up to {usual / 1000:.1f} kHz: a model may "
                "tell it by that alone; use files of one quality, or a sample rate that all of them fill"
            )
    # Where bandwidths are equal, the sample rate leaves traces only.
    return lines or _rates_apart(sounds)


def _rates_apart(sounds: Mapping[str, LabelSound]) -> list[str]:
    usual = {label: _usual_rate(sound.sample_rates) for label, sound in sounds.items()}
    lines = []
    for label, rate in usual.items():
        others = {other for name, other in usual.items() if name != label}
        if rate and len(usual) > 2 and len(others) == 1 and others != {rate} and None not in others:
            lines.append(
                f"{label} is at {rate} Hz, other labels are at {others.pop()} Hz: a model may tell it by traces of "
                "that; convert all files to one rate"
            )
    return lines


def _usual_rate(rates: Counter[int]) -> int | None:
    """Return the sample rate of nearly all tracks, or None if there is none."""
    if not rates:
        return None
    rate, count = rates.most_common(1)[0]
    return rate if count >= _MIN_SHARE * rates.total() else None
