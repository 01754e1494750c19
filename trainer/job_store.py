"""Directories of jobs in a store: copied to this machine, worked on there, and written back.

What a training writes is written in place many times, by libraries that know only paths; in a store an object is put
once and whole. So a command works on a copy, and `publish` puts what has changed, in an order that keeps the rules of
trainer.training.resume wherever it is cut off: a training's state first and its configuration last, as a configuration
without a state is that of a finished job; and a state is deleted last of all.
"""

import contextlib
import json
import os
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tfrecords import storage
from tfrecords.common import files, shutdown
from tfrecords.common.command_line import UserError
from trainer.training.training_state import STATE_FILE
from trainer.training_job import CHECKPOINT_FILE, CONFIG_FILE, HISTORY_FILE, LOGS_DIR, RUN_FILE

LOCK_FILE = ".lock"
# Without these, what else is there is no job and no exported model.
_LAST = (CONFIG_FILE, "saved_model.pb")
# What decides whether a training goes on, and how: not left to a list that may be older than what the store holds.
_KNOWN = (CONFIG_FILE, STATE_FILE, CHECKPOINT_FILE, HISTORY_FILE, RUN_FILE)
# Whoever holds a lock writes it anew so often; one that stays the same for so long is a dead process's.
_HEARTBEAT_S, _DEAD_AFTER_S = 15.0, 60.0
# By the path of the copy, and by that of the job whose logs are copied.
_open: dict[Path, "JobCopy"] = {}
_logs: dict[Path, "JobCopy"] = {}


class JobCopy:
    """A directory of this machine that stands for one in a store.

    Attributes:
      url: of the directory in the store; to publish to, it may be one of this machine.
      path: of the copy.
    """

    def __init__(self, url: str, path: Path) -> None:
        self.url = url
        self.path = path
        self._published: dict[str, tuple[int, int]] = {}

    def fetch(self) -> None:
        """Make the copy what the store holds, but for the logs, which nothing reads again.

        Raises:
          UserError: it cannot be read.
        """
        try:
            storage.download(self.url, self.path, only=_is_fetched, also=_KNOWN)
        except OSError as error:
            raise UserError(f"{self.url} cannot be read: {error.strerror}") from None
        self._published = self._found()

    def publish(self) -> None:
        """Put what has changed since the last time, and delete what is gone.

        Raises:
          UserError: it cannot be written.
        """
        found = self._found()
        changed = [name for name, version in found.items() if self._published.get(name) != version]
        gone = [name for name in self._published if name not in found]
        try:
            self._delete(name for name in gone if not _is(name, STATE_FILE))
            for name in sorted(changed, key=_order):
                target = storage.join(self.url, name)
                if storage.is_remote(target):
                    with (self.path / name).open("rb") as file:
                        storage.put(target, file)
                else:
                    storage.copy(self.path / name, target)
                self._published[name] = found[name]
            self._delete(name for name in gone if _is(name, STATE_FILE))
        except OSError as error:
            raise UserError(f"{self.url} cannot be written: {error.strerror}") from None

    def _delete(self, names: Iterator[str]) -> None:
        # The configuration first: without it, what else is left is no job.
        for name in sorted(names, key=lambda name: (not _is(name, CONFIG_FILE), name)):
            storage.delete([storage.join(self.url, name)])
            del self._published[name]

    def _found(self) -> dict[str, tuple[int, int]]:
        """Return name -> (time of its last change, size) of the files in the copy that are whole."""
        found = {}
        for path in self.path.rglob("*"):
            if path.is_file() and not files.is_temporary(path.name):
                status = path.stat()
                found[path.relative_to(self.path).as_posix()] = status.st_mtime_ns, status.st_size
        return found


def _is_fetched(name: str) -> bool:
    return name != LOCK_FILE and LOGS_DIR not in PurePosixPath(name).parts


def _is(name: str, file: str) -> bool:
    return PurePosixPath(name).name == file


def _order(name: str) -> tuple[bool, bool, str]:
    return not _is(name, STATE_FILE), PurePosixPath(name).name in _LAST, name


@contextlib.contextmanager
def opened(location: str, *, locks: bool = False) -> Iterator[Path]:
    """Yield a path for a job's directory: its own on this machine, that of a copy where it is in a store.

    Args:
      location: a path or a URL.
      locks: keep other commands from writing to a directory of a store, and publish the copy at the end of the block,
        also where that raises; on this machine the directory is not locked here.

    Raises:
      UserError: the store cannot be used, or another process writes there. In the text of those that the block raises
        the store's URL stands for the copy's path.
    """
    try:
        path = storage.local_path(location)
    except OSError as error:
        raise UserError(f"{location}: {error.strerror}") from None
    if path is not None:
        yield path
        return
    url = location.rstrip("/")
    directory = Path(tempfile.mkdtemp(prefix="job-")).resolve()
    with contextlib.ExitStack() as stack:
        stack.enter_context(shutdown.cleanup_on_signal(lambda: shutil.rmtree(directory, ignore_errors=True)))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        copy = JobCopy(url, directory)
        if locks:
            stack.enter_context(_locked(url))
        copy.fetch()
        _open[directory] = copy
        stack.callback(_open.pop, directory)
        try:
            yield directory
        except UserError as error:
            raise type(error)(str(error).replace(str(directory), url)) from None
        finally:
            if locks:
                copy.publish()


def check_local(*locations: str | os.PathLike[str] | None) -> None:
    """Check that directories or files are on this machine, for what works on no others.

    Raises:
      UserError: one is a URL.
    """
    for location in locations:
        if location is not None and storage.scheme_of(location) is not None:
            raise UserError(f"{os.fspath(location)}: has to be on this machine here; copy it, and name its path")


@contextlib.contextmanager
def logs_copied(job_dir: Path, location: str) -> Iterator[None]:
    """Within the block, copy a job's logs to another directory, here or in a store, whenever the job is published.

    Args:
      job_dir: of the job, on this machine.
      location: a path or a URL; empty: copy nothing.

    Raises:
      UserError: it cannot be written.
    """
    if not location:
        yield
        return
    _logs[job_dir] = JobCopy(storage.plain(location).rstrip("/"), job_dir / LOGS_DIR)
    try:
        yield
    finally:
        _logs.pop(job_dir).publish()


def publish(path: Path) -> None:
    """Put what has changed in the copy that a path is in or below; nothing to do on this machine's own directories."""
    for directory, copy in (*_open.items(), *_logs.items()):
        if path.is_relative_to(directory):
            copy.publish()


def fetch(path: Path) -> None:
    """Read the copy that a path is in or below anew, after another host has published it."""
    if copy := _copy_of(path):
        copy.fetch()


def is_published(path: Path) -> bool:
    """Return whether a path is in or below what `publish` puts elsewhere."""
    return any(path.is_relative_to(directory) for directory in (*_open, *_logs))


def shown(path: Path) -> str:
    """Return a path as a user knows it: within a copy, its place in the store."""
    if copy := _copy_of(path):
        return storage.join(copy.url, *path.relative_to(copy.path).parts)
    return str(path)


def _copy_of(path: Path) -> JobCopy | None:
    return next((copy for directory, copy in _open.items() if path.is_relative_to(directory)), None)


@contextlib.contextmanager
def _locked(url: str) -> Iterator[None]:
    """Hold the lock of a directory in a store, an object that only one process can create.

    The holder writes it anew now and then. Where it stays as it is, its process was killed, and the lock is taken over.

    Raises:
      UserError: another process holds it, or the store cannot be used.
    """
    lock = storage.join(url, LOCK_FILE)
    holder = {"host": socket.gethostname(), "process": os.getpid(), "key": uuid.uuid4().hex}
    try:
        _take(lock, _text(holder, 0))
    except OSError as error:
        raise UserError(f"{url} cannot be used: {error.strerror}") from None
    done = threading.Event()
    thread = threading.Thread(target=_keep, args=(lock, holder, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with contextlib.suppress(OSError):
            storage.delete([lock])


def _text(holder: dict[str, object], beat: int) -> bytes:
    return json.dumps({**holder, "beat": beat}).encode("ascii")


def _take(lock: str, text: bytes) -> None:
    url = lock.removesuffix(f"/{LOCK_FILE}")
    while not storage.create(lock, text):
        try:
            found = storage.read(lock)
            if not _is_dead(found):
                print(f"{url}: another process was writing there; waiting whether it still does", flush=True)
                ends = time.monotonic() + _DEAD_AFTER_S
                while time.monotonic() < ends:
                    time.sleep(min(1.0, _HEARTBEAT_S))
                    if storage.read(lock) != found:
                        raise UserError(f"{url}: another process is writing there ({_describe(found)})")
            storage.delete([lock])
        except FileNotFoundError:
            continue


def _holder(text: bytes) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _describe(text: bytes) -> str:
    return f"process {_holder(text).get('process')} on {_holder(text).get('host')}"


def _is_dead(text: bytes) -> bool:
    """Return whether a lock's holder was a process of this host that is no more."""
    holder = _holder(text)
    process = holder.get("process")
    if holder.get("host") != socket.gethostname() or type(process) is not int or process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _keep(lock: str, holder: dict[str, object], done: threading.Event) -> None:
    beat = 0
    while not done.wait(_HEARTBEAT_S):
        beat += 1
        # A store that is out of reach for a while is a matter of what is published, not of the lock.
        with contextlib.suppress(OSError):
            storage.write(lock, _text(holder, beat))
