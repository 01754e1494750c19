"""Files of a job directory that several commands use, and the lock on it."""

import contextlib
import csv
import io
from collections.abc import Iterator
from pathlib import Path

from tfrecords import files
from tfrecords.command_line import UserError
from trainer.training.rises import History

HISTORY_FILE = "history.csv"


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
def claimed(directory: Path) -> Iterator[None]:
    """Keeps other processes from writing to a directory. The claim ends with the process, however that ends.

    Temporary files that a killed process has left there are removed.

    Raises:
      UserError: another one is writing there, or the directory cannot be used.
    """
    with files.lock_directory(directory, "writing"):
        try:
            files.remove_temporary(directory)
        except OSError as error:
            raise UserError(f"{directory} cannot be used: {error.strerror}") from None
        yield


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
    files.write_text(job_dir / HISTORY_FILE, text.getvalue())


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
        whole = files.read_text(path).rpartition("\n")[0]
        rows = list(csv.DictReader(whole.splitlines(), strict=True))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: not the history of a training ({error}); train again") from None
