"""The recognition of a file as lines of text for a person, or as one line of JSON for a program."""

import json
from typing import Any

import numpy as np

from beam_preprocess.audio import Reject
from tfrecords.common.terminal import printable
from trainer.serving.recognizer import CANCELLED, SILENT, Recognition

# By note, in words for a person.
NOTES = {
    SILENT: "silent: no genre",
    CANCELLED: "channels cancel: next to nothing is left in their mean, which is what the model hears",
}
UNFAMILIAR, UNSURE = "unlike the training music", "not sure"
_SHOWN_IN_SET = 3
# Bars in eighths of a line's height, and their substitutes where the terminal's encoding has none.
_BARS, _ASCII_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
_MAX_COLUMNS = 60
# Of tags, of which there are many, only those with at least this probability are printed.
_MIN_TAG = 0.01


def headline(recognition: Recognition) -> str:
    """Return the answer in words: "rock or pop", "not sure: rock or pop", "unlike the training music"; printable.

    A silent file's says so.
    """
    if recognition.label is None:
        return NOTES[SILENT]
    answer = recognition.answer
    if answer is not None and not answer.familiar:
        return UNFAMILIAR
    names = [printable(label) for label in recognition.label_set]
    if len(names) == len(recognition.labels):
        # A set of all labels says no more than its likeliest one.
        names = names[:1]
    if len(names) > _SHOWN_IN_SET + 1:
        names[_SHOWN_IN_SET:] = [f"{len(names) - _SHOWN_IN_SET} more"]
    words = " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return words if answer is None or answer.sure else f"{UNSURE}: {words}"


def with_chance(recognition: Recognition) -> str:
    """Return the answer in words with the probability of the likeliest label, which is named where the words do not."""
    words = headline(recognition)
    if recognition.label is None:
        return words
    chance = f"{100 * recognition.probability:.1f} %"
    label = printable(recognition.label)
    return f"{words} {chance}" if words == label else f"{words} ({label} {chance})"


def as_text(path: str, recognition: Recognition, *, encoding: str = "utf-8") -> str:
    """Return a line with the answer, then a line for each label with its probability and a bar chart over time.

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
    labels = [marked(label, recognition) for label in recognition.labels]
    width = max(map(len, labels))
    probabilities = recognition.calibrated
    lines = [f"{path}: {with_chance(recognition)}"]
    if recognition.note:
        lines.append(f"  {NOTES[recognition.note]}")
    for index in np.argsort(-probabilities, kind="stable"):
        if recognition.genres is not None and probabilities[index] < _MIN_TAG:
            break
        chart = "".join(bars[round(value * (len(bars) - 1))] for value in columns[:, index])
        lines.append(f"  {labels[index]:<{width}} {100 * probabilities[index]:5.1f} % |{chart}|")
    column_s = recognition.patch_s * each
    lines.append(f"  {'':<{width}}         a column is {column_s:.2f} s, the file {recognition.duration_s:.1f} s")
    return "\n".join(lines)


def marked(label: str, recognition: Recognition) -> str:
    """Return a label as it can be printed, with a star where it is a genre among tags of other kinds."""
    star = " *" if recognition.genres is not None and label in recognition.genres else ""
    return f"{printable(label)}{star}"


def as_json(path: str, recognition: Recognition) -> str:
    """Return one line: path, genre, note, probabilities by label, duration_s, patch_s, and a timeline of the patches.

    Where the labels are tags, genres lists those of them that are genres. A silent file has genre and probabilities
    null; the note is null where there is none. Where the model tells what its answers are worth, confidence holds them
    (see `answer_to_json`); not for a silent file.
    """

    def by_label(probabilities: np.ndarray) -> dict[str, float]:
        return {label: round(float(p), 6) for label, p in zip(recognition.labels, probabilities, strict=True)}

    return json.dumps(
        {
            "path": path,
            "genre": recognition.label,
            **({} if recognition.genres is None else {"genres": list(recognition.genres)}),
            "note": recognition.note,
            **({} if recognition.answer is None else {"confidence": answer_to_json(recognition)}),
            "probabilities": None if recognition.label is None else by_label(recognition.probabilities),
            "duration_s": round(recognition.duration_s, 3),
            "patch_s": round(recognition.patch_s, 6),
            "timeline": [
                {"start_s": round(float(start), 3), "probabilities": by_label(probabilities)}
                for start, probabilities in zip(recognition.starts_s, recognition.timeline, strict=True)
            ],
        }
    )


def answer_to_json(recognition: Recognition) -> dict[str, Any]:
    """Return what the answer of a recognition is worth as values that json.dumps takes.

    Returns:
      words, probabilities (calibrated, by label), set (labels, the likeliest first), sure, familiar, and distance, null
      where it is not measured.
    """
    answer = recognition.answer
    assert answer is not None  # noqa: S101 - the caller has looked
    return {
        "words": headline(recognition),
        "probabilities": {
            label: round(float(p), 6) for label, p in zip(recognition.labels, answer.probabilities, strict=True)
        },
        "set": list(recognition.label_set),
        "sure": bool(answer.sure),
        "familiar": bool(answer.familiar),
        "distance": None if recognition.distance is None else round(recognition.distance, 4),
    }


def reject_as_text(path: str, reject: Reject) -> str:
    """Return one line: path, reason, detail."""
    return f"{printable(path)}: {reject.reason}: {reject.detail}"


def reject_as_json(path: str, reject: Reject) -> str:
    """Return one line: path, reason, detail."""
    return json.dumps({"path": path, "reason": reject.reason, "detail": reject.detail})
