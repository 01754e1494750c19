"""Files of a job directory: each is written whole or not at all, and one process at a time writes."""

import contextlib
import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from tfrecords import claimed_dir
from tfrecords.command_line import UserError
from trainer.training.rises import History

HISTORY_FILE = "history.csv"
# Of a file's name, on the file systems in use.
MAX_NAME_BYTES = 255


def make_dir(path: Path, flag: str) -> None:
    """Makes a directory, with those above it, unless it is there.

    Raises:
      UserError: it cannot be made; the flag that named it is told.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--{flag}={path} cannot be made: {error.strerror}") from None


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a temporary name to write to; afterwards the file is on the disk and has its own name.

    Raises:
      UserError: it cannot be written; what the name held before is still there.
    """
    # The ending stays: it tells Keras the format. The beginning of a long name does not, to leave room for the mark.
    temporary = path.with_name(".tmp-" + shortened(path.name[::-1], MAX_NAME_BYTES - len(".tmp-"))[::-1])
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        # Why it could not be written is what is to be told.
        with contextlib.suppress(OSError):
            temporary.unlink()


def shortened(name: str, max_bytes: int) -> str:
    """Return the beginning of a file's name that takes at most so many bytes on the disk, cut between characters."""
    size = 0
    for count, character in enumerate(name):
        size += len(os.fsencode(character))
        if size > max_bytes:
            return name[:count]
    return name


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def claimed(job_dir: Path) -> contextlib.AbstractContextManager[None]:
    """Keeps other processes from training in a directory. The claim ends with the process, however that ends.

    Raises:
      UserError: another one is training there.
    """
    return claimed_dir.claimed(job_dir, "training")


def write_text(path: Path, text: str) -> None:
    """Writes a file under a temporary name, then renames it.

    Raises:
      UserError: it cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, "utf-8")


def write_history(job_dir: Path, history: History) -> None:
    """Writes history.csv: a row for each finished epoch, whose number counts from 0.

    Raises:
      UserError: it cannot be written.
    """
    text = io.StringIO()
    if history:
        writer = csv.DictWriter(text, ["epoch", *sorted(history[0])])
        writer.writeheader()
        writer.writerows({"epoch": epoch, **row} for epoch, row in enumerate(history))
    write_text(job_dir / HISTORY_FILE, text.getvalue())


def read_history(job_dir: Path) -> dict[str, list[float]]:
    """Metric name -> value per epoch, as training logged them; empty when it has not finished an epoch.

    Raises:
      UserError: the file is damaged.
    """
    path = job_dir / HISTORY_FILE
    if not path.is_file():
        return {}
    try:
        # A line without an end is one that was still being written when training was stopped.
        whole = path.read_bytes().decode("utf-8").rpartition("\n")[0]
        rows = list(csv.DictReader(whole.splitlines(), strict=True))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: not the history of a training ({error}); train again") from None
