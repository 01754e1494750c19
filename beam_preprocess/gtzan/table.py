"""tracks.csv: GTZAN as a list of tracks with their artists, by which the job deals folds that tear no artist."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from beam_preprocess.gtzan.artists import groups
from beam_preprocess.gtzan.clips import genre_of
from beam_preprocess.gtzan.facts import songs
from tfrecords import files
from tfrecords.command_line import UserError

FILE_NAME = "tracks.csv"
COLUMNS = ("path", "genre", "artist", "title", "group")


def table(clips: Mapping[str, str]) -> str:
    """The text of tracks.csv, a row for each clip; `group` is what a split keeps together, empty where unknown.

    Args:
      clips: clip -> its path, relative to the table.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip, path in sorted(clips.items()):
        song = songs()[clip]
        writer.writerow((path, genre_of(clip), "; ".join(song.artists), song.title, groups().get(clip, "")))
    return text.getvalue()


def write_table(folder: Path, clips: Mapping[str, str]) -> Path:
    """Writes tracks.csv into a folder, whole or not at all, unless it is there.

    Raises:
      UserError: it cannot be read or written.
    """
    path, text = folder / FILE_NAME, table(clips)
    try:
        done = path.is_file() and path.read_bytes() == text.encode("utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if not done:
        files.write_text(path, text)
    return path
