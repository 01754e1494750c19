"""Lists the labelled tracks of a folder, a glob or a CSV."""

import dataclasses
import functools
import glob
import os
import re
import sys
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from beam_preprocess import storage
from beam_preprocess.audio.formats import COMMON_FORMATS, Selection, head_of, walk
from beam_preprocess.config import MAGIC
from beam_preprocess.inputs.csv_rows import check_row, open_quote, read_csv
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import log

_PATH_COLUMN, _LABEL_COLUMN = "path", "genre"
_GROUP_COLUMNS = ("group", "artist")
_SIGNS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
# Of a glob: text that stands for itself, or one of its signs.
_GLOB = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?\]?[^]]*\]|.", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Track:
    """One audio file with one label.

    Attributes:
      track_id: path below the input, with forward slashes; unique.
      uri: the file to read.
      label: label name; empty where the input need not have labels.
      group: tracks of one group stay in one part; the track_id if no group is given.
      size: in bytes; None if it is unknown (missing, or on another file system than the CSV that lists it).
      origin: the path to show to users, if the uri is that of a copy.
    """

    track_id: str
    uri: str
    label: str
    group: str
    size: int | None
    origin: str | None = None


def list_tracks(
    source: str,
    *,
    label_column: str | None = None,
    group_column: str | None = None,
    label_folder: str = "parent",
    needs_labels: bool = True,
) -> list[Track]:
    """Return all tracks of a source, sorted by track_id. Memory grows by about 400 bytes a track.

    Args:
      source: a folder (read with all its subfolders), a glob, or a .csv file whose column "path" is relative to it.
        A file's label is the name of a folder, or the value in the CSV's label column.
      label_column: the CSV's column of labels. None: "genre".
      group_column: the CSV's column of groups. None: "group" if the CSV has it, else "artist", else no groups.
      label_folder: the folder that names the label: "parent", the one that a file is in, or "top", the first one below
        the source (for a glob, below its part without wildcards).
      needs_labels: False: a CSV need not have the column genre, nor a label in every row.

    Raises:
      UserError: the source does not exist, cannot be listed or has no audio, a column is missing, a row is incomplete
        or too long, a path is listed twice or is a URL that cannot be opened, or a file is in no folder that could name
        its label.
    """
    selection = Selection()
    with storage.reporting(source):
        storage.local_path(source)
    if is_csv(source):
        tracks = _from_csv(source, label_column, group_column, needs_labels)
    else:
        if any(character in source for character in MAGIC) and not os.path.isdir(source):  # noqa: PTH112
            root, nothing = _fixed_part(source).rstrip("/"), "matches no audio file"
            files = _chosen(match_files(source), root, selection)
        else:
            root, nothing = source.rstrip("/"), "no audio file in this folder"
            files = _walk(source, selection)
        tracks = [track_in_folder(uri, size, root=root, label_folder=label_folder) for uri, size in files]
        log_selection(source, selection, tracks, nothing)
    tracks.sort(key=lambda track: track.track_id)
    return tracks


def log_selection(source: str, selection: Selection, tracks: Sequence[Track], nothing: str) -> None:
    """Log which files of an input are not tracks.

    Args:
      source: the input.
      selection: counts its other files.
      tracks: its tracks.
      nothing: the message if there are none.

    Raises:
      UserError: there are no tracks.
    """
    if not tracks:
        others = f"; there are {selection.kinds()}" if selection.others else ""
        raise UserError(f"{source}: {nothing}{others}; one folder per label is expected, with {COMMON_FORMATS}")
    if selection.others:
        log(f"{source}: {selection.describe()}")


def track_in_folder(uri: str, size: int | None, *, root: str, label_folder: str) -> Track:
    """Return the track of a file below root, labelled by a folder (see `list_tracks`).

    Raises:
      UserError: the label should be the first folder below root, and there is none.
    """
    track_id = _below(root, uri)
    if label_folder == "top":
        label, slash, _ = track_id.partition("/")
        if not slash:
            raise UserError(f"`label_folder=top`: {uri} is in no folder below {root or '/'}")
    else:
        folder = os.path.dirname(uri)  # noqa: PTH120
        label = PurePosixPath(folder).name or PurePosixPath(os.path.abspath(folder)).name  # noqa: PTH100
    return Track(track_id, absolute(uri), one_name(label), track_id, size)


def _below(root: str, uri: str) -> str:
    """Return the path of a file below a folder."""
    return uri[len(root) + 1 :] if root else uri.lstrip("/")


def one_name(text: str) -> str:
    """Return the text in Unicode's composed form: systems encode one name in two ways, and it must be one label.

    Equal names share one string, as there are few labels among millions of tracks.
    """
    return sys.intern(unicodedata.normalize("NFC", text))


def _walk(folder: str, selection: Selection) -> Iterator[tuple[str, int]]:
    folder = folder.rstrip("/") or "/"
    if storage.is_remote(folder):
        yield from _chosen(_listed(folder, folder), folder, selection)
        return
    if not os.path.isdir(folder):  # noqa: PTH112
        what = "is a file; give its folder, or a .csv" if os.path.exists(folder) else "no such folder"  # noqa: PTH110
        raise UserError(f"{folder}: {what}")

    def fail(error: OSError) -> None:
        raise UserError(
            f"{error.filename}: cannot be listed: {error.strerror}; make it readable, or exclude it by a glob"
        )

    for path in walk(folder, selection, fail):
        yield path, _size(path) or 0


def _chosen(files: Iterable[tuple[str, int]], root: str, selection: Selection) -> Iterator[tuple[str, int]]:
    """Yield the audio among files. Only files on this machine are opened if their names do not show what they are."""
    for uri, size in files:
        read_head = None if storage.is_remote(uri) else functools.partial(head_of, uri)
        # Stores have empty objects that represent folders.
        if not uri.endswith("/") and selection.takes(_below(root, uri), read_head):
            yield uri, size


def match_files(pattern: str) -> Iterator[tuple[str, int]]:
    """Yield the files that a glob matches, here or in a store, and their sizes in bytes.

    Raises:
      UserError: its folder cannot be listed.
    """
    if not storage.is_remote(pattern):
        # A set: a pattern with ** twice finds a file more than once.
        for path in sorted(set(glob.glob(pattern, recursive=True))):  # noqa: PTH207
            # Pipes and broken links are included: they become rejects when they are read.
            if not os.path.isdir(path):  # noqa: PTH112
                yield path, _size(path) or 0
        return
    folder = _fixed_part(pattern)
    matches = re.compile("".join(map(_translate, _GLOB.findall(pattern[len(folder) :]))), re.DOTALL).fullmatch
    for uri, size in _listed(folder, pattern):
        below = uri[len(folder) :]
        # As on a local disk, hidden files and folders are skipped below the part without wildcards.
        if matches(below) and "/." not in below:
            yield uri, size


def _listed(folder: str, asked: str) -> Iterator[tuple[str, int]]:
    """Yield the files in and below a folder of a store; `asked` names in errors what was to be listed."""
    with storage.reporting(f"{asked}: cannot be listed"):
        yield from storage.walk(folder)


def _translate(sign: str) -> str:
    """Return the regular expression of a sign of a glob."""
    if sign in _SIGNS:
        return _SIGNS[sign]
    if len(sign) > 1:
        inside = sign[1:-1].replace("\\", "\\\\")
        return f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]"
    return re.escape(sign)


def _fixed_part(pattern: str) -> str:
    """Return the folder that a pattern names before its first wildcard, without a final slash."""
    first = min(pattern.index(character) for character in MAGIC if character in pattern)
    return pattern[:first].rpartition("/")[0]


def _from_csv(source: str, label_column: str | None, group_column: str | None, needs_labels: bool) -> list[Track]:
    columns, rows = read_csv(source, _PATH_COLUMN)
    if label_column is None and (needs_labels or _LABEL_COLUMN in columns):
        label_column = _LABEL_COLUMN
    group_column = _checked_columns(source, columns, label_column, group_column)
    path_at = columns.index(_PATH_COLUMN)
    label_at, group_at = (columns.index(column) if column else None for column in (label_column, group_column))
    find = _finder(source)
    uris: set[str] = set()
    lines = array("q")
    tracks: list[Track] = []
    for row in rows:
        fields = [*row.fields, *[""] * (len(columns) - len(row.fields))]
        track_id, label = fields[path_at].strip(), one_name(fields[label_at].strip()) if label_at is not None else ""
        if not track_id or (needs_labels and not label):
            what = f"{_PATH_COLUMN} or {label_column}" if needs_labels else _PATH_COLUMN
            raise UserError(f"{source}: line {row.line}: {what} is empty{open_quote(row)}")
        check_row(source, row, columns)
        track_id, uri, size = find(track_id, row.line)
        # By uri, not by track_id: "a.wav" and "./a.wav" are one file, and could get into two parts.
        if uri in uris:
            first = next(line for line, track in zip(lines, tracks, strict=True) if track.uri == uri)
            raise UserError(f"{source}: line {row.line}: {track_id} is on line {first} already")
        uris.add(uri)
        lines.append(row.line)
        group = one_name(fields[group_at].strip()) if group_at is not None else ""
        tracks.append(Track(track_id, uri, label, group or track_id, size))
    if not tracks:
        raise UserError(f"{source}: lists no track")
    return tracks


def _checked_columns(
    source: str, columns: Sequence[str], label_column: str | None, group_column: str | None
) -> str | None:
    """Check that each column exists once; return the column of groups, if there is one."""
    if group_column is None:
        group_column = next((column for column in _GROUP_COLUMNS if column in columns), None)
        if group_column == "group":
            log(f"{source}: its column group says which tracks stay together (`group_column` takes another)")
    for column in filter(None, (_PATH_COLUMN, label_column, group_column)):
        if column not in columns:
            raise UserError(f"{source}: no column {column!r}; it has {', '.join(columns) or 'none'}")
        if columns.count(column) > 1:
            raise UserError(f"{source}: {columns.count(column)} columns are called {column!r}; rename all but one")
    return group_column


def _finder(source: str) -> Callable[[str, int], tuple[str, str, int | None]]:
    """Return a function that finds a file listed in a CSV: path, line -> track_id, uri, size in bytes or None."""
    folder = storage.split(source)[0]
    size_of, local = _sizes(source), not storage.is_remote(source)

    def find(path: str, line: int) -> tuple[str, str, int | None]:
        if storage.scheme_of(path) is not None:
            try:
                uri = storage.plain(path)
                storage.local_path(uri)
            except OSError as error:
                raise UserError(f"{source}: line {line}: {path}: {error.strerror}") from None
            return path, uri, size_of(uri)
        uri = absolute(storage.join(folder, path) if folder else path)
        size = size_of(uri)
        if size is None and local:
            return _spelled_otherwise(folder, path) or (path, uri, None)
        return path, uri, size

    return find


def _spelled_otherwise(folder: str, path: str) -> tuple[str, str, int] | None:
    """Return track_id, uri and size of a file whose path on disk has other slashes or accents in another form."""
    for track_id in (path, path.replace("\\", "/")):
        for spelled in (track_id, unicodedata.normalize("NFC", track_id), unicodedata.normalize("NFD", track_id)):
            uri = absolute(os.path.join(folder, spelled))  # noqa: PTH118
            if (size := _size(uri)) is not None:
                # Not as the disk spells it, so that the same CSV gives the same track_ids on every system.
                return track_id, uri, size
    return None


def _sizes(source: str) -> Callable[[str], int | None]:
    """Return a function that gives the size in bytes of a file in a CSV, or None; to be called once for each file.

    In a store, only files below the CSV's folder have a size.
    """
    if not storage.is_remote(source):
        return _size
    try:
        # One listing is cheaper than a request for each file.
        sizes = dict(storage.walk(storage.split(source)[0]))
    except OSError:
        # Files that may be read cannot always be listed; missing ones become rejects when they are read.
        sizes = {}
    return lambda uri: sizes.pop(uri, None)


def is_csv(source: str) -> bool:
    """Return whether an input is a CSV, by its name."""
    return source.lower().endswith(".csv")


def absolute(uri: str) -> str:
    """Return the uri in a form that does not depend on the working directory."""
    return uri if storage.is_remote(uri) else os.path.abspath(uri)  # noqa: PTH100


def _size(uri: str) -> int | None:
    try:
        return None if storage.is_remote(uri) else os.stat(uri).st_size  # noqa: PTH116
    except (OSError, ValueError):
        return None
