"""The recognition of a file as lines of text for a person, or as one line of JSON for a program."""

import json

import numpy as np

from beam_preprocess.audio import Reject
from tfrecords.common.terminal import printable
from trainer.serving.recognizer import CANCELLED, SILENT, Recognition

# By note, in words for a person.
NOTES = {
    SILENT: "silent: no genre",
    CANCELLED: "channels cancel: next to nothing is left in their mean, which is what the model hears",
}
# Bars in eighths of a line's height, and their substitutes where the terminal's encoding has none.
_BARS, _ASCII_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
_MAX_COLUMNS = 60
# Of tags, of which there are many, only those with at least this probability are printed.
_MIN_TAG = 0.01


def as_text(path: str, recognition: Recognition, *, encoding: str = "utf-8") -> str:
    """Return a line with the genre, then a line for each label with its probability and a bar chart over time.

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
    lines = [f"{path}: {printable(recognition.label)} {100 * recognition.probability:.1f} %"]
    if recognition.note:
        lines.append(f"  {NOTES[recognition.note]}")
    for index in np.argsort(-recognition.probabilities, kind="stable"):
        if recognition.genres is not None and recognition.probabilities[index] < _MIN_TAG:
            break
        chart = "".join(bars[round(value * (len(bars) - 1))] for value in columns[:, index])
        lines.append(f"  {labels[index]:<{width}} {100 * recognition.probabilities[index]:5.1f} % |{chart}|")
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
    null; the note is null where there is none.
    """

    def by_label(probabilities: np.ndarray) -> dict[str, float]:
        return {label: round(float(p), 6) for label, p in zip(recognition.labels, probabilities, strict=True)}

    return json.dumps(
        {
            "path": path,
            "genre": recognition.label,
            **({} if recognition.genres is None else {"genres": list(recognition.genres)}),
            "note": recognition.note,
            "probabilities": None if recognition.label is None else by_label(recognition.probabilities),
            "duration_s": round(recognition.duration_s, 3),
            "patch_s": round(recognition.patch_s, 6),
            "timeline": [
                {"start_s": round(float(start), 3), "probabilities": by_label(probabilities)}
                for start, probabilities in zip(recognition.starts_s, recognition.timeline, strict=True)
            ],
        }
    )


def reject_as_text(path: str, reject: Reject) -> str:
    """Return one line: path, reason, detail."""
    return f"{printable(path)}: {reject.reason}: {reject.detail}"


def reject_as_json(path: str, reject: Reject) -> str:
    """Return one line: path, reason, detail."""
    return json.dumps({"path": path, "reason": reject.reason, "detail": reject.detail})
