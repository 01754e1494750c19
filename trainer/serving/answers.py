"""What a model says of a file, as lines for a person and as JSON for a program.

Where the pictures of files go: one file for one, a folder for more.
"""

import json
import tempfile
from pathlib import Path

import numpy as np

from beam_preprocess.audio import Reject
from tfrecords.common import files
from tfrecords.common.command_line import UserError
from tfrecords.plots import printable
from trainer import training_job
from trainer.serving.recognizer import CANCELLED, SILENT, Recognition

# What a person is told of a file, by its note.
NOTES = {
    SILENT: "silent: no genre",
    CANCELLED: "channels cancel: next to nothing is left in their mean, which is what the model hears",
}
# Eighths of a line's height, and what stands for them where the terminal's encoding has none.
_BARS, _ASCII_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
_MOST_COLUMNS = 60


def as_text(path: str, recognition: Recognition, *, encoding: str = "utf-8") -> str:
    """The genre in one line, then a line for each label: its probability, and how that goes over time.

    Of a silent file there is but the one line, which says so.

    Args:
      path: of the file, printable.
      recognition: what is said of it.
      encoding: of the terminal.
    """
    if recognition.label is None:
        return f"{path}: {NOTES[SILENT]}"
    bars = _BARS
    try:
        bars.encode(encoding)
    except UnicodeEncodeError:
        bars = _ASCII_BARS
    columns = _columns(recognition.timeline)
    column_s = recognition.patch_s * -(-len(recognition.timeline) // _MOST_COLUMNS)
    labels = list(map(printable, recognition.labels))
    width = max(map(len, labels))
    share = recognition.probabilities.max()
    lines = [f"{path}: {printable(recognition.label)} {100 * share:.1f} %"]
    if recognition.note:
        lines.append(f"  {NOTES[recognition.note]}")
    for index in np.argsort(-recognition.probabilities, kind="stable"):
        line = "".join(bars[round(value * (len(bars) - 1))] for value in columns[:, index])
        lines.append(f"  {labels[index]:<{width}} {100 * recognition.probabilities[index]:5.1f} % |{line}|")
    lines.append(f"  {'':<{width}}         a column is {column_s:.2f} s, the file {recognition.duration_s:.1f} s")
    return "\n".join(lines)


def _columns(timeline: np.ndarray) -> np.ndarray:
    """[patches, labels] -> [columns, labels], as few neighbouring patches averaged as make them fit into a line."""
    each = -(-len(timeline) // _MOST_COLUMNS)
    return np.stack([timeline[first : first + each].mean(axis=0) for first in range(0, len(timeline), each)])


def as_json(path: str, recognition: Recognition) -> str:
    """One line: path, genre, note, probabilities by label, duration_s, patch_s, and of each patch when and what.

    The note is null but for files that are out of the ordinary; of a silent one genre and probabilities are null too.
    """

    def shares(probabilities: np.ndarray) -> dict[str, float]:
        return {label: round(float(p), 6) for label, p in zip(recognition.labels, probabilities, strict=True)}

    return json.dumps(
        {
            "path": path,
            "genre": recognition.label,
            "note": recognition.note,
            "probabilities": None if recognition.label is None else shares(recognition.probabilities),
            "duration_s": round(recognition.duration_s, 3),
            "patch_s": round(recognition.patch_s, 6),
            "timeline": [
                {"start_s": round(float(start), 3), "probabilities": shares(probabilities)}
                for start, probabilities in zip(recognition.starts_s, recognition.timeline, strict=True)
            ],
        }
    )


def reject_as_json(path: str, reject: Reject) -> str:
    """One line: path, reason, detail."""
    return json.dumps({"path": path, "reason": reject.reason, "detail": reject.detail})


class Pictures:
    """Names for pictures: the name itself if it ends with .png, else NAME/<file's name>.png.

    Two files of one name get different pictures, the second one's ending with -2. A name too long for a file is
    shortened.

    Args:
      name: of the file or folder.
      count: pictures that there will be at most.

    Raises:
      UserError: the folder cannot be made or written to, or one file is named for many pictures.
    """

    def __init__(self, name: str, count: int) -> None:
        self._path = Path(name)
        self._one = self._path.suffix.lower() == ".png" and not self._path.is_dir()
        self._taken: set[str] = set()
        if self._one and count > 1:
            raise UserError(f"--png={name} is one picture, and there are {count} files; name a folder")
        folder = self._path.parent if self._one else self._path
        training_job.make_dir(folder, "png")
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(f"--png={name}: {folder} cannot be written to: {error.strerror}") from None

    def write(self, source: str, data: bytes) -> Path:
        """Writes the picture of a file, and returns where it is.

        Raises:
          UserError: it cannot be written.
        """
        path = self._path if self._one else self._path / self._free_name(Path(source).stem)
        with files.atomic_write(path) as temporary:
            temporary.write_bytes(data)
        return path

    def _free_name(self, stem: str) -> str:
        ending, number = ".png", 1
        # Some systems take names for equal that differ in upper and lower case only.
        while (name := _with_ending(stem, ending)).lower() in self._taken:
            number += 1
            ending = f"-{number}.png"
        self._taken.add(name.lower())
        return name


def _with_ending(stem: str, ending: str) -> str:
    return files.shorten_name(stem, files.MAX_NAME_BYTES - len(ending)) + ending
