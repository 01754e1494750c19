"""From a mirror, an archive or a folder to a directory that holds GTZAN and a table of its tracks."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from beam_preprocess.gtzan import facts
from beam_preprocess.gtzan.download import RetryPolicy, download, md5_of
from beam_preprocess.gtzan.unpack import copy_folder, describe, unpack_archive, verify
from beam_preprocess.inputs.archive import is_archive
from tfrecords.common.command_line import UserError
from tfrecords.common.files import lock_directory, remove_temporary
from tfrecords.common.terminal import log


def fetch(
    output: Path,
    *,
    source: Path | None = None,
    mirrors: Sequence[str],
    archive: str,
    md5: str,
    max_archive_bytes: int,
    retry: RetryPolicy | None = None,
) -> None:
    """Bring all clips into a directory, then write their table; what it already holds is kept.

    Args:
      output: directory, made where it is missing.
      source: an archive or a folder of this machine; None to download.
      mirrors: addresses of the archive, in the order in which they are tried.
      archive: its name in output.
      md5: of the published archive.
      max_archive_bytes: an archive that unpacks to more is refused.
      retry: when to give up a download.

    Raises:
      UserError: no mirror gives the archive, source is not GTZAN, output cannot be written, or another process writes
        to it.
    """
    with _made_and_locked(output):
        _remove_leftovers(output)
        clips = verify(output)
        if clips.problem is None:
            log(f"{output} holds GTZAN already: nothing to do")
        else:
            if clips.damage is not None:
                # Unpacking keeps files of the right size, so it would not replace these.
                raise UserError(f"{output}: {clips.damage}; delete these files and run the command again")
            if source is None:
                source = output / archive
                download(mirrors, source, md5=md5, retry=retry or RetryPolicy())
                unpack_archive(source, output, max_bytes=max_archive_bytes)
                log(f"{source} is no longer needed")
            else:
                _copy(source, output, md5, max_archive_bytes)
            clips = verify(output)
            if clips.problem is not None:
                raise UserError(f"{source}: not the whole of GTZAN: {clips.problem}")
        facts.write_table(output, clips.files)
    print(f"{output / facts.TABLE}:")
    for line in describe(clips):
        print(f"  {line}")


@contextlib.contextmanager
def _made_and_locked(output: Path) -> Iterator[None]:
    """Make a directory where it is missing, and lock it: two processes would fetch everything twice.

    A directory that was made and is still empty at the end is removed.
    """
    made = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}; choose another directory") from None
    try:
        with lock_directory(output, "fetching GTZAN"):
            yield
    finally:
        if made:
            with contextlib.suppress(OSError):
                output.rmdir()


def _remove_leftovers(output: Path) -> None:
    """Remove the temporary files of killed processes. The output must be locked."""
    try:
        for directory in (output, *(output / genre for genre in facts.GENRES)):
            if directory.is_dir():
                remove_temporary(directory)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be used: {error.strerror}") from None


def _copy(source: Path, output: Path, md5: str, max_archive_bytes: int) -> None:
    """Copy the clips of an archive or a folder of this machine."""
    if source.is_dir():
        copy_folder(source, output)
    elif not source.exists():
        raise UserError(f"{source}: no such file or folder")
    elif not is_archive(str(source)):
        raise UserError(f"{source}: must be a .tar, .tar.gz or .tgz; unpack others and give the folder")
    else:
        if (actual := md5_of(source)) != md5:
            log(f"{source}: md5 {actual} is not that of the published archive ({md5}); its content decides")
        unpack_archive(source, output, max_bytes=max_archive_bytes)
