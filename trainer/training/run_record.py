"""JOB/run.json: when, where, with what code and by what command a job was started, each time.

For those who look at a result later. Nothing is read from it when a training goes on: neither another machine nor a
newer library keeps it from doing so.
"""

import contextlib
import datetime
import json
import platform
import shutil
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from tfrecords.common.files import read_text, write_text
from trainer.training.training_state import TrainingState
from trainer.training_job import RUN_FILE, TrainingJob

_DISTRIBUTION = "music-genre-tfrecords"
_LIBRARIES = ("tensorflow", "keras", "numpy", "protobuf", "jax")
_GIT_LIMIT_S = 10


def add(job_dir: Path, job: TrainingJob, start: TrainingState, *, command: str) -> None:
    """Append this start to run.json.

    Args:
      job_dir: of run.json.
      job: that is trained.
      start: where it begins or goes on.
      command: as it could be given again.

    Raises:
      UserError: the file cannot be written.
    """
    told = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "finished_epochs": start.epoch,
        "step": start.step,
        "dataset": {"data_dir": job.data_dir, "fingerprint": job.fingerprint},
        "code": code_version(Path(__file__).parent),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "devices": devices(),
        "python": platform.python_version(),
        "versions": {name: version for name in _LIBRARIES if (version := _version(name))},
    }
    write_text(job_dir / RUN_FILE, json.dumps({"starts": [*read(job_dir), told]}, indent=1) + "\n")


def read(job_dir: Path) -> list[dict[str, Any]]:
    """The starts so far, the first one first; none where the file is not there or not whole."""
    try:
        starts = json.loads(read_text(job_dir / RUN_FILE))["starts"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return starts if isinstance(starts, list) else []


def devices() -> list[str]:
    """What TensorFlow may compute on, as its kind and its maker's name."""
    import tensorflow as tf

    found = []
    for device in tf.config.get_visible_devices():
        name = tf.config.experimental.get_device_details(device).get("device_name")
        found.append(f"{device.device_type}: {name or _processor()}")
    return found


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def code_version(directory: Path) -> dict[str, Any]:
    """Which code lies in a directory.

    Returns:
      version: of the installed distribution, None if there is none; and in a checkout of the project
      git_revision: of its last commit.
      modified: whether a file under version control differs from it.
    """
    version: dict[str, Any] = {"version": _version(_DISTRIBUTION)}
    # A directory of another project's checkout, such as one of its virtual environments, holds no files of that.
    if _git(directory, "ls-files", "."):
        changed = _git(directory, "status", "--porcelain", "--untracked-files=no")
        version |= {"git_revision": _git(directory, "rev-parse", "HEAD"), "modified": changed != ""}
    return version


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _git(directory: Path, *arguments: str) -> str | None:
    """What git says about a directory; None where it is not there, or has nothing to say."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
