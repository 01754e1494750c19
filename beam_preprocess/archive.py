"""A labelled set in an archive (.tar, .tar.gz): listed from its headers, then unpacked where every worker can read it.

An archive can only be read from front to back, so one that is to be used is read twice. Nothing of a member but its
number and its extension becomes part of a file's name on disk: no path in an archive can point out of the directory,
be too long for it, or meet another that differs in upper and lower case only.
"""

import contextlib
import dataclasses
import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO

from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.audio import EXTENSIONS
from beam_preprocess.config import JobConfig, archive_stem
from beam_preprocess.messages import say
from beam_preprocess.tracks import Track, absolute, is_audio, labelled_by_folder
from tfrecords.command_line import UserError
from tfrecords.manifest import PARTIAL_DIR

_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK_BYTES = 1 << 20
# Long names and the like stand in headers of their own, which tarfile reads into memory whole.
_MAX_HEADER_BYTES = 1 << 20


def list_archive(config: JobConfig) -> list[Track]:
    """All tracks of an archive, sorted by track_id; their uris are those that `unpack` gives them.

    A track_id is the path in the archive, below the one folder that all audio lies in, if there is one.

    Raises:
      UserError: no such archive, a damaged one, one that unpacks to too much, a path that leads out of it, no audio.
    """
    source = config.source
    folder = _folder(source, config.output)
    found: dict[str, tuple[str, int]] = {}
    left_out = 0
    for number, (path, member, _) in enumerate(_members(source, config.max_archive_bytes)):
        if member.isreg() and is_audio(path):
            # The later of two members of one path wins, as when it is unpacked by hand.
            found[path] = (FileSystems.join(folder, _file_name(number, path)), member.size)
        left_out += not (member.isreg() or member.isdir())
    if not found:
        raise UserError(f"{source}: no audio file in this archive (looked for {' '.join(EXTENSIONS)})")
    if left_out:
        say(f"{source}: {left_out} links or devices are left out")
    # Audio with no folder around it is labelled as if the archive had been unpacked into a folder of its own name.
    root = _root(source, list(found))
    prefix = archive_stem(source)
    uri_of = {f"{prefix}/{path}": uri for path, (uri, _) in found.items()}
    files = [(f"{prefix}/{path}", size) for path, (_, size) in found.items()]
    below = len(prefix) + 1
    return [
        dataclasses.replace(
            track, uri=uri_of[name], origin=f"{absolute(source)}/{name[below:]}"
        )
        for name, track in sorted(labelled_by_folder(files, root, config.label_folder), key=lambda pair: pair[1].track_id)
    ]
