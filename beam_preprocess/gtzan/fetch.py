"""From a mirror, an archive or a folder to a directory that holds GTZAN and a table of its tracks."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from beam_preprocess.gtzan import facts
from beam_preprocess.gtzan.download import RetryPolicy, download, md5_of
from beam_preprocess.gtzan.unpack import Findings, copy_folder, describe, unpack_archive, verify
from beam_preprocess.inputs.archive import is_archive
from tfrecords.common.command_line import UserError
from tfrecords.common.files import lock_directory
from tfrecords.common.terminal import log

TABLE = facts.FILE_NAME


def fetch(
    output: Path,
    *,
    source: Path | None = None,
    mirrors: Sequence[str],
    archive: str,
    md5: str,
    max_archive_bytes: int,
    patience: RetryPolicy | None = None,
) -> None:
    """Makes output hold all clips and their table, written last; what is there already is kept.

    Args:
      output: directory, made where it is missing.
      source: an archive or a folder that is there already; None to download.
      mirrors: addresses of the archive, in the order in which they are tried.
      archive: its name in output.
      md5: of the published archive.
      max_archive_bytes: an archive that unpacks to more is refused.
      patience: of the download.

    Raises:
      UserError: no mirror gives the archive, what was given is not GTZAN, output cannot be written, or another process
        writes to it.
    """
    with _made_and_locked(output):
        found = verify(output)
        if found.problem is None:
            log(f"{output} holds GTZAN already: nothing to do")
        else:
            if found.damage is not None:
                # Unpacking keeps what has the right size, so it would not mend this.
                raise UserError(f"{output}: {found.damage}; delete these files and run the command again")
            path = output / archive
            _bring(output, source, mirrors, archive=path, md5=md5, limit=max_archive_bytes, patience=patience)
            found = verify(output)
            if found.problem is not None:
                raise UserError(f"{source or path}: not the whole of GTZAN: {found.problem}")
        facts.write_table(output, found.files)
    _tell(output, found)


@contextlib.contextmanager
def _made_and_locked(output: Path) -> Iterator[None]:
    """Makes the directory, unless it is there, for this process alone: two would write the same temporary files.

    Where nothing came into it, it is taken away again.
    """
    made = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}; give another --output") from None
    try:
        with lock_directory(output, "fetching GTZAN"):
            yield
    finally:
        if made:
            with contextlib.suppress(OSError):
                output.rmdir()


def _bring(
    output: Path,
    source: Path | None,
    mirrors: Sequence[str],
    *,
    archive: Path,
    md5: str,
    limit: int,
    patience: RetryPolicy | None,
) -> None:
    if source is None:
        download(mirrors, archive, md5=md5, patience=patience or RetryPolicy())
        unpack_archive(archive, output, max_bytes=limit)
        log(f"{archive} is no longer needed")
    elif source.is_dir():
        copy_folder(source, output)
    elif not source.exists():
        raise UserError(f"--from={source}: no such file or folder")
    elif not is_archive(str(source)):
        raise UserError(f"--from={source}: must be a .tar, .tar.gz or .tgz; unpack others and give the folder")
    else:
        if (found := md5_of(source)) != md5:
            log(f"{source}: md5 {found} is not that of the published archive ({md5}); its content decides")
        unpack_archive(source, output, max_bytes=limit)


def _tell(output: Path, found: Findings) -> None:
    print(f"{output / TABLE}:")
    for line in describe(found):
        print(f"  {line}")
