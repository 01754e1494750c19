"""tracks.csv: GTZAN as a list of tracks with their artists, by which the job deals folds that tear no artist."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from beam_preprocess.gtzan.artists import groups
from beam_preprocess.gtzan.clips import genre_of
from beam_preprocess.gtzan.facts import songs
from tfrecords import shutdown
from tfrecords.command_line import UserError

FILE_NAME = "tracks.csv"
COLUMNS = ("path", "genre", "artist", "title", "group")


def table(files: Mapping[str, str]) -> str:
    """The text of tracks.csv, a row for each clip; `group` is what a split keeps together, empty where unknown.

    Args:
      files: clip -> its path, relative to the table.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip, path in sorted(files.items()):
        song = songs()[clip]
        writer.writerow((path, genre_of(clip), "; ".join(song.artists), song.title, groups().get(clip, "")))
    return text.getvalue()


def write_table(folder: Path, files: Mapping[str, str]) -> Path:
    """Writes tracks.csv into a folder, whole or not at all, unless it is there.

    Raises:
      UserError: it cannot be written.
    """
    path, text = folder / FILE_NAME, table(files)
    partial = path.with_name(f".{FILE_NAME}.partial")
    try:
        if not path.is_file() or path.read_bytes() != text.encode("utf-8"):
            with shutdown.if_ended(partial.unlink):
                partial.write_text(text, "utf-8")
                partial.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}; give another --output") from None
    return path
