"""A recognition as the page receives it: JSON of a bounded size."""

import base64
from typing import Any

import numpy as np

from trainer.serving.recognizer import CANCELLED, SILENT, Recognition

# By note; the page shows the sentence.
_SENTENCES = {
    SILENT: "There is no sound in this recording, so it has no genre.",
    CANCELLED: "The channels of this recording cancel: next to nothing is left in their mean, which is what the model "
    "hears.",
}
# More than a wide screen has pixels; three hours take no more bytes than a minute and a half.
_MOST_COLUMNS = 4_000
# Of the spectrogram's values, those below this share are drawn alike: digital silence would take half of the shades.
_DARKEST_SHARE = 0.02


def to_json(recognition: Recognition) -> dict[str, Any]:
    """What the page draws.

    Returns:
      label, note and note_in_words (each may be null), labels, probabilities [labels], starts_s [patches], patch_s,
      timeline [patches][labels], empty where there is no label, duration_s, and spectrogram: columns, bands and levels,
      base64 of [columns, bands] bytes from 0 to 255.
    """
    levels = _levels(_fewer_columns(recognition.log_mel))
    columns, bands = levels.shape
    return {
        "label": recognition.label,
        "note": recognition.note,
        "note_in_words": _SENTENCES[recognition.note] if recognition.note else None,
        "labels": list(recognition.labels),
        "probabilities": _rounded(recognition.probabilities),
        "starts_s": _rounded(recognition.starts_s),
        "patch_s": round(float(recognition.patch_s), 4),
        "timeline": [_rounded(patch) for patch in recognition.timeline],
        "duration_s": round(float(recognition.duration_s), 4),
        "spectrogram": {
            "columns": columns,
            "bands": bands,
            "levels": base64.b64encode(levels.tobytes()).decode("ascii"),
        },
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]


def _fewer_columns(log_mel: np.ndarray) -> np.ndarray:
    """The loudest of each few frames, so that a beat stays visible: [columns, bands], at most _MOST_COLUMNS."""
    frames = len(log_mel)
    if frames <= _MOST_COLUMNS:
        return log_mel
    starts = np.arange(_MOST_COLUMNS) * frames // _MOST_COLUMNS
    return np.maximum.reduceat(log_mel, starts, axis=0)


def _levels(log_mel: np.ndarray) -> np.ndarray:
    """The same as bytes, from the quietest to the loudest of this recording."""
    if not log_mel.size:
        return np.zeros(log_mel.shape, np.uint8)
    low, high = np.quantile(log_mel, _DARKEST_SHARE), log_mel.max()
    return np.clip(np.rint((log_mel - low) * (255 / max(high - low, 1e-6))), 0, 255).astype(np.uint8)
