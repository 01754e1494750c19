"""Lists labelled audio: a folder, a glob, or a CSV."""

import dataclasses
import functools
import glob
import importlib
import os
import sys
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.audio.formats import COMMON_FORMATS, Selection, head_of, walk
from beam_preprocess.config import MAGIC
from beam_preprocess.inputs.csv_rows import check_row, open_quote, read_csv
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import log

_PATH_COLUMN = "path"
_GROUP_COLUMNS = ("group", "artist")
# Scheme of URLs -> the package that Beam opens them with, and the extra of Beam's that brings it; Beam itself notices a
# missing one only when a file is read.
_PACKAGES = {"s3": ("boto3", "aws"), "azfs": ("azure.storage.blob", "azure")}


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
        incomplete or too long, a path is listed twice or is a URL that cannot be opened, a file lies in no folder that
        could name its label.
    """
    selection = Selection()
    if is_csv(source):
        tracks = _from_csv(source, label_column or "genre", group_column)
    elif any(character in source for character in MAGIC) and not os.path.isdir(source):  # noqa: PTH112
        root = _fixed_part(source).rstrip("/")
        chosen = _chosen(match_files(source), root, selection)
        tracks = _labelled_by_folder(chosen, root, label_folder)
        log_selection(source, selection, tracks, "matches no audio file")
    else:
        tracks = _labelled_by_folder(_walk(source, selection), source.rstrip("/"), label_folder)
        log_selection(source, selection, tracks, "no audio file in this folder")
    tracks.sort(key=lambda track: track.track_id)
    return tracks


def log_selection(source: str, selection: Selection, tracks: Sequence[Track], nothing: str) -> None:
    """Tell which files of an input are no tracks.

    Raises:
      UserError: there are no tracks; it begins with `nothing`.
    """
    if not tracks:
        there = f"; there are {selection.kinds()}" if selection.others else ""
        raise UserError(f"{source}: {nothing}{there}; one folder per label is expected, with {COMMON_FORMATS}")
    if selection.others:
        log(f"{source}: {selection.describe()}")


def _labelled_by_folder(files: Iterable[tuple[str, int]], root: str, label_folder: str) -> list[Track]:
    return [track_in_folder(uri, size, root=root, label_folder=label_folder) for uri, size in files]


def track_in_folder(uri: str, size: int | None, *, root: str, label_folder: str) -> Track:
    """The track that a file below root is, labelled by a folder (see `list_tracks`).

    Raises:
      UserError: the label is to be the first folder below root, and there is none.
    """
    track_id = _below(root, uri)
    if label_folder == "top":
        label, slash, _ = track_id.partition("/")
        if not slash:
            raise UserError(f"--label_folder=top: {uri} lies in no folder below {root or '/'}")
    else:
        folder = os.path.dirname(uri)  # noqa: PTH120
        label = PurePosixPath(folder).name or PurePosixPath(os.path.abspath(folder)).name  # noqa: PTH100
    return Track(track_id, absolute(uri), one_name(label), track_id, size)


def _below(root: str, uri: str) -> str:
    """The path of a file below a folder."""
    return uri[len(root) + 1 :] if root else uri.lstrip("/")


def one_name(text: str) -> str:
    """The text in Unicode's composed form: systems write one name in two ways, and a label or group must be one.

    Equal names are one string: among millions of tracks there are few labels.
    """
    return sys.intern(unicodedata.normalize("NFC", text))


def _walk(folder: str, selection: Selection) -> Iterator[tuple[str, int]]:
    folder = folder.rstrip("/") or "/"
    if FileSystems.get_scheme(folder) is not None:
        yield from _chosen(match_files(f"{folder}/**", hidden=True), folder, selection)
        return
    if not os.path.isdir(folder):  # noqa: PTH112
        what = "is a file; give the folder it lies in, or a .csv" if os.path.exists(folder) else "no such folder"  # noqa: PTH110
        raise UserError(f"{folder}: {what}")

    def fail(error: OSError) -> None:
        raise UserError(
            f"{error.filename}: cannot be listed: {error.strerror}; make it readable, or leave it out by a glob"
        )

    for path in walk(folder, selection, fail):
        yield path, _size(path) or 0


def _chosen(files: Iterable[tuple[str, int]], root: str, selection: Selection) -> Iterator[tuple[str, int]]:
    """The tracks among files; only those on this machine are looked into, where their names do not tell."""
    for uri, size in files:
        read_head = functools.partial(head_of, uri) if FileSystems.get_scheme(uri) is None else None
        # Stores hold empty objects that stand for folders.
        if not uri.endswith("/") and selection.takes(_below(root, uri), read_head):
            yield uri, size


def match_files(pattern: str, *, hidden: bool = False) -> Iterator[tuple[str, int]]:
    """The files that a glob matches, on any file system that Beam knows, and their sizes in bytes.

    Args:
      pattern: the glob.
      hidden: give hidden files too, where the file system is not this machine's.

    Raises:
      UserError: its folder cannot be listed.
    """
    if FileSystems.get_scheme(pattern) is None:
        # A set: a pattern with ** twice finds a file more than once.
        for path in sorted(set(glob.glob(pattern, recursive=True))):  # noqa: PTH207
            # What is no file, such as a pipe or a broken link, is not to be left out: whoever reads it says so.
            if not os.path.isdir(path):  # noqa: PTH112
                yield path, _size(path) or 0
        return
    with storage.reporting(f"{pattern}: cannot be listed"):
        (match,) = storage.filesystem_of(pattern).match([pattern])
        begin, listed = len(_fixed_part(pattern)), match.metadata_list
        # What is told of a file is let go when the file is taken: of millions, both at once would be too much.
        while listed:
            metadata = listed.pop()
            # Hidden files and folders are left out, as on a local disk, below the part without wildcards.
            if hidden or "/." not in metadata.path[begin:]:
                yield metadata.path, metadata.size_in_bytes


def _fixed_part(pattern: str) -> str:
    """The folder that a pattern names before its first wildcard, without a slash at the end."""
    first = min(pattern.index(character) for character in MAGIC if character in pattern)
    return pattern[:first].rpartition("/")[0]


def _from_csv(source: str, label_column: str, group_column: str | None) -> list[Track]:
    columns, rows = read_csv(source, _PATH_COLUMN)
    group_column = _checked_columns(source, columns, label_column, group_column)
    place = {name: index for index, name in enumerate(columns)}
    path_at, label_at, group_at = place[_PATH_COLUMN], place[label_column], place.get(group_column or "")
    find = _finder(source)
    seen: set[str] = set()
    lines = array("q")
    tracks: list[Track] = []
    for row in rows:
        fields = [*row.fields, *[""] * (len(columns) - len(row.fields))]
        track_id, label = fields[path_at].strip(), one_name(fields[label_at].strip())
        if not track_id or not label:
            what = f"{_PATH_COLUMN} or {label_column} is empty"
            raise UserError(f"{source}: line {row.line}: {what}{open_quote(row)}")
        check_row(source, row, columns)
        track_id, uri, size = find(track_id, row.line)
        # By uri, not by track_id: "a.wav" and "./a.wav" are one file, and could land in two parts.
        if uri in seen:
            first = next(line for line, track in zip(lines, tracks, strict=True) if track.uri == uri)
            raise UserError(f"{source}: line {row.line}: {track_id} is on line {first} already")
        seen.add(uri)
        lines.append(row.line)
        group = one_name(fields[group_at].strip()) if group_at is not None else ""
        tracks.append(Track(track_id, uri, label, group or track_id, size))
    if not tracks:
        raise UserError(f"{source}: lists no track")
    return tracks


def _checked_columns(source: str, columns: Sequence[str], label_column: str, group_column: str | None) -> str | None:
    """The column of groups, if there is one, after a look whether all are there, and once."""
    if group_column is None:
        group_column = next((column for column in _GROUP_COLUMNS if column in columns), None)
        if group_column == "group":
            log(f"{source}: its column group says which tracks stay together (--group_column=... takes another)")
    for column in (_PATH_COLUMN, label_column, *([group_column] if group_column else [])):
        if column not in columns:
            raise UserError(f"{source}: no column {column!r}; it has {', '.join(columns) or 'none'}")
        if columns.count(column) > 1:
            raise UserError(f"{source}: {columns.count(column)} columns are called {column!r}; rename all but one")
    return group_column


def _finder(source: str) -> Callable[[str, int], tuple[str, str, int | None]]:
    """What finds a file that a CSV lists: path and line -> track_id, uri, and bytes, None where they are not known."""
    folder = FileSystems.split(source)[0]
    join, size = FileSystems.get_filesystem(folder).join, _sizes(source)
    local = FileSystems.get_scheme(source) is None
    usable: set[str] = set()

    def find(path: str, line: int) -> tuple[str, str, int | None]:
        if (scheme := FileSystems.get_scheme(path)) is not None:
            if scheme not in usable:
                _check_scheme(f"{source}: line {line}: {path}", path, scheme)
                usable.add(scheme)
            return path, path, size(path)
        uri = absolute(join(folder, path) if folder else path)
        found = size(uri)
        if found is None and local:
            return _spelled_otherwise(folder, path) or (path, uri, None)
        return path, uri, found

    return find


def _spelled_otherwise(folder: str, path: str) -> tuple[str, str, int] | None:
    """A file that is there by another spelling of its path: with slashes, or in another of Unicode's forms."""
    for track_id in (path, path.replace("\\", "/")):
        for spelled in (track_id, unicodedata.normalize("NFC", track_id), unicodedata.normalize("NFD", track_id)):
            uri = absolute(os.path.join(folder, spelled))  # noqa: PTH118
            if (size := _size(uri)) is not None:
                # Not as the disk spells it: lists of the same tracks would then differ by the system.
                return track_id, uri, size
    return None


def _check_scheme(where: str, path: str, scheme: str) -> None:
    """Raises UserError if Beam cannot open such URLs here."""
    package, extra = _PACKAGES.get(scheme, ("", ""))
    try:
        if package:
            importlib.import_module(package)
        FileSystems.get_filesystem(path)
    except ImportError:
        raise UserError(f"{where}: {scheme}:// needs pip install 'apache-beam[{extra}]'") from None
    except (ValueError, BeamIOError):
        raise UserError(
            f"{where}: {scheme}:// cannot be opened here; download the file and give its path, or install what Beam "
            "needs for it (gs://: pip install 'apache-beam[gcp]')"
        ) from None


def _sizes(source: str) -> Callable[[str], int | None]:
    """What tells the bytes of a file that a CSV lists, once; of files elsewhere, those that lie below the CSV."""
    if FileSystems.get_scheme(source) is None:
        return _size
    try:
        # One listing is cheaper than a question for each file.
        sizes = dict(match_files(storage.pattern_below(FileSystems.split(source)[0])))
    except UserError:
        # What may be read may not always be listed; the files will say for themselves whether they are there.
        sizes = {}
    return lambda uri: sizes.pop(uri, None)


def is_csv(source: str) -> bool:
    """Whether an input is a CSV, by its name."""
    return source.lower().endswith(".csv")


def absolute(uri: str) -> str:
    """The uri, independent of the directory that a worker runs in."""
    return os.path.abspath(uri) if FileSystems.get_scheme(uri) is None else uri  # noqa: PTH100


def _size(uri: str) -> int | None:
    try:
        return os.stat(uri).st_size if FileSystems.get_scheme(uri) is None else None  # noqa: PTH116
    except (OSError, ValueError):
        return None
