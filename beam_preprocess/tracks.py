"""Lists labelled audio: a folder, a glob, or a CSV."""

import csv
import dataclasses
import glob
import io
import os
import sys
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.audio import EXTENSIONS
from beam_preprocess.messages import say
from tfrecords.command_line import UserError

# Of a glob.
MAGIC = "*?["
_PATH_COLUMN = "path"
_GROUP_COLUMNS = ("group", "artist")


@dataclasses.dataclass(frozen=True, slots=True)
class Track:
    """One audio file with one label.

    Attributes:
      track_id: path below the input, with forward slashes; unique.
      uri: where to read it.
      label: label name.
      group: what no split tears apart; the track_id where none was given.
      size: bytes, or None where it is not known (missing, or on another file system than the CSV that lists it).
      origin: where a person finds it, when the uri is that of a copy.
    """

    track_id: str
    uri: str
    label: str
    group: str
    size: int | None
    origin: str | None = None


def list_tracks(
    source: str, *, label_column: str | None = None, group_column: str | None = None, label_folder: str = "parent"
) -> list[Track]:
    """All tracks of a source, sorted by track_id. Memory grows by some 400 bytes a track: its paths, little else.

    Args:
      source: a folder (read with all its subfolders), a glob, or a .csv file whose column "path" is relative to it.
        A file's label is the name of a folder, or the CSV's label column.
      label_column: the CSV's column of labels. None: "genre".
      group_column: the CSV's column of groups. None: "group" if the CSV has it, else "artist", else every track on its
        own.
      label_folder: which folder names the label: "parent", the one that a file lies in, or "top", the first one below
        the source (below the first part of a glob with a wildcard).

    Raises:
      UserError: nothing there, a folder that cannot be listed, no audio in it, a column is missing, a row is
        incomplete, a path is listed twice, a file lies in no folder that could name its label.
    """
    if source.lower().endswith(".csv"):
        try:
            tracks = _from_csv(source, label_column or "genre", group_column)
        except csv.Error as error:
            raise UserError(f"{source}: not a CSV: {error}") from None
    elif any(character in source for character in MAGIC) and not os.path.isdir(source):  # noqa: PTH112
        root = _fixed_part(source).rstrip("/")
        tracks = _labelled_by_folder(match_files(source), root, label_folder)
        _require(tracks, f"{source}: matches no audio file")
    else:
        tracks = _labelled_by_folder(_walk(source), source.rstrip("/"), label_folder)
        _require(tracks, f"{source}: no audio file in this folder")
    tracks.sort(key=lambda track: track.track_id)
    return tracks


def _require(tracks: list[Track], what: str) -> None:
    if not tracks:
        raise UserError(f"{what} (looked for {' '.join(EXTENSIONS)}); one folder per label is expected")


def _labelled_by_folder(files: Iterable[tuple[str, int]], root: str, label_folder: str) -> list[Track]:
    return [track_in_folder(uri, size, root=root, label_folder=label_folder) for uri, size in files if is_audio(uri)]


def is_audio(path: str) -> bool:
    """Whether a file is taken for audio, by its name."""
    name = path.rpartition("/")[2]
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def track_in_folder(uri: str, size: int | None, *, root: str, label_folder: str) -> Track:
    """The track that a file below root is, labelled by a folder (see `list_tracks`).

    Raises:
      UserError: the label is to be the first folder below root, and there is none.
    """
    track_id = uri[len(root) + 1 :] if root else uri.lstrip("/")
    if label_folder == "top":
        label, slash, _ = track_id.partition("/")
        if not slash:
            raise UserError(f"--label_folder=top: {uri} lies in no folder below {root or '/'}")
    else:
        folder = os.path.dirname(uri)  # noqa: PTH120
        label = PurePosixPath(folder).name or PurePosixPath(os.path.abspath(folder)).name  # noqa: PTH100
    return Track(track_id, absolute(uri), _one_name(label), track_id, size)


def _one_name(text: str) -> str:
    """The text in Unicode's composed form: systems write one name in two ways, and a label or group must be one.

    Equal names are one string: among millions of tracks there are few labels.
    """
    return sys.intern(unicodedata.normalize("NFC", text))


def _walk(folder: str) -> Iterator[tuple[str, int]]:
    folder = folder.rstrip("/") or "/"
    if FileSystems.get_scheme(folder) is not None:
        yield from match_files(f"{folder}/**")
        return
    if not os.path.isdir(folder):  # noqa: PTH112
        what = "is a file; give the folder it lies in, or a .csv" if os.path.exists(folder) else "no such folder"  # noqa: PTH110
        raise UserError(f"{folder}: {what}")

    def fail(error: OSError) -> None:
        raise UserError(
            f"{error.filename}: cannot be listed: {error.strerror}; make it readable, or leave it out by a glob"
        )

    seen = set()
    # os.walk rather than a glob: a folder's name may hold glob characters, and linked folders count (once).
    for directory, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        # A disk's own lost+found is nobody's music, and nobody's to read.
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "lost+found")
        real = os.path.realpath(directory)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in sorted(files):
            path = os.path.join(directory, name)  # noqa: PTH118
            yield path, _size(path) or 0


def match_files(pattern: str) -> Iterator[tuple[str, int]]:
    """The files that a glob matches, on any file system that Beam knows, and their sizes in bytes; hidden ones are not.

    Raises:
      UserError: its folder cannot be listed.
    """
    if FileSystems.get_scheme(pattern) is None:
        # A set: a pattern with ** twice finds a file more than once.
        for path in sorted(set(glob.glob(pattern, recursive=True))):  # noqa: PTH207
            if os.path.isfile(path):  # noqa: PTH113
                yield path, _size(path) or 0
        return
    with storage.reporting(f"{pattern}: cannot be listed"):
        (match,) = FileSystems.match([pattern])
        begin, listed = len(_fixed_part(pattern)), match.metadata_list
        # What is told of a file is let go when the file is taken: of millions, both at once would be too much.
        while listed:
            metadata = listed.pop()
            # Hidden files and folders are left out, as on a local disk, below the part without wildcards.
            if "/." not in metadata.path[begin:]:
                yield metadata.path, metadata.size_in_bytes


def _fixed_part(pattern: str) -> str:
    """The folder that a pattern names before its first wildcard, without a slash at the end."""
    first = min(pattern.index(character) for character in MAGIC if character in pattern)
    return pattern[:first].rpartition("/")[0]


def _from_csv(source: str, label_column: str, group_column: str | None) -> list[Track]:
    rows = csv.DictReader(_lines(source))
    group_column = _checked_columns(source, rows.fieldnames or [], label_column, group_column)
    folder = FileSystems.split(source)[0]
    join, size = FileSystems.get_filesystem(folder).join, _sizes(source)
    seen: set[str] = set()
    lines = array("q")
    tracks: list[Track] = []
    for row in rows:
        track_id, label = (row[_PATH_COLUMN] or "").strip(), _one_name((row[label_column] or "").strip())
        if not track_id or not label:
            raise UserError(f"{source}: line {rows.line_num}: {_PATH_COLUMN} or {label_column} is empty")
        remote = FileSystems.get_scheme(track_id) is not None
        uri = absolute(track_id if remote or not folder else join(folder, track_id))
        # By uri, not by track_id: "a.wav" and "./a.wav" are one file, and could land in two parts.
        if uri in seen:
            first = next(line for line, track in zip(lines, tracks, strict=True) if track.uri == uri)
            raise UserError(f"{source}: line {rows.line_num}: {track_id} is on line {first} already")
        seen.add(uri)
        lines.append(rows.line_num)
        group = _one_name((row[group_column] or "").strip()) if group_column else ""
        tracks.append(Track(track_id, uri, label, group or track_id, size(uri)))
    if not tracks:
        raise UserError(f"{source}: lists no track")
    return tracks


def _checked_columns(source: str, columns: Sequence[str], label_column: str, group_column: str | None) -> str | None:
    """The column of groups, if there is one, after a look whether all are there."""
    if group_column is None:
        group_column = next((column for column in _GROUP_COLUMNS if column in columns), None)
        if group_column == "group":
            say(f"{source}: its column group says which tracks stay together (--group_column=... takes another)")
    for column in (_PATH_COLUMN, label_column, *([group_column] if group_column else [])):
        if column not in columns:
            raise UserError(f"{source}: no column {column!r}; it has {', '.join(columns) or 'none'}")
    return group_column


def _sizes(source: str) -> Callable[[str], int | None]:
    """What tells the bytes of a file that a CSV lists, once; of files elsewhere, those that lie below the CSV."""
    if FileSystems.get_scheme(source) is None:
        return _size
    try:
        # One listing is cheaper than a question for each file.
        sizes = dict(match_files(f"{FileSystems.split(source)[0]}/**"))
    except UserError:
        # What may be read may not always be listed; the files will say for themselves whether they are there.
        sizes = {}
    return lambda uri: sizes.pop(uri, None)


def _lines(source: str) -> Iterator[str]:
    """Lines of a text file, read as they are asked for."""
    number = 0
    with storage.reporting(f"{source}: cannot be read"), storage.open_file(source) as file:
        try:
            for number, line in enumerate(io.TextIOWrapper(file, "utf-8-sig", newline=""), 1):  # noqa: B007
                yield line
        except UnicodeDecodeError as error:
            raise UserError(
                f"{source}: not UTF-8 text ({error.reason} after line {number}); save it as UTF-8"
            ) from None


def absolute(uri: str) -> str:
    """The uri, independent of the directory that a worker runs in."""
    return os.path.abspath(uri) if FileSystems.get_scheme(uri) is None else uri  # noqa: PTH100


def _size(uri: str) -> int | None:
    try:
        return os.stat(uri).st_size if FileSystems.get_scheme(uri) is None else None  # noqa: PTH116
    except OSError:
        return None
