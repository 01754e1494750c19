"""Runs the whole path on emulated stores, through a network that fails, and compares it with a run on this machine.

python -m tools.stores [--stores=gcs,s3] [--checks=path,hosts,reading] [--faults=0.05] [--latency_ms=5] [--seed=0]
    [--tracks_per_genre=3] [--work_dir=DIR] [--results=FILE]

fake-gcs-server and moto's server for S3 are reached through a proxy that adds latency and, drawn by the seed for a
share of the requests, answers 429 or 503, resets the connection before or after the store has done what was asked, cuts
an answer's body, or gives a list of objects as it was some seconds ago.

  path     The job reads audio from a bucket and writes a dataset there, which is verified; a training is killed
           (SIGKILL) once it has finished an epoch, and started again by the same command; then the model is scored and
           names the genre of a file. Shards and manifest have to be those of the run on this machine, byte for byte;
           losses, scores and answers the same to the last digit.
  hosts    1, 2 and 4 hosts, processes of this machine, read a dataset: each may fetch 1.1 of its share, and their
           batches together have to be those of one. A training on 2 hosts is killed in the middle, and goes on on 1
           and on 4: its losses, without dropout, have to be those of one host to 1e-5.
  reading  A reader takes 20,000 patches/s through 50 ms of latency, from an empty cache: it may wait 2 % of its time,
           and its memory may not grow with the data. Only on gcs: moto gives less than a tenth of that.

fake-gcs-server is built once, into --engines_dir, by go; without go on the PATH that store is left out, with a word.

Exit status 1 if anything differs.
"""

import contextlib
import csv
import datetime
import io
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import processes
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.shard_cache import DIR_VARIABLE
from tools import store_readers
from tools.emulated_stores import NAMES, FaultyProxy, emulator, environment, free_port, root

_THREADS = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
_EPOCHS = 4
# Dropout's masks depend on the number of devices.
_TRAIN_WITHOUT_DROPOUT = """
import sys
from tfrecords.common import command_line
from trainer import train
command_line.import_tensorflow()
import keras
keras.layers.Dropout.call = lambda self, inputs, training=False: inputs
command_line.run(train.main, train.FLAGS, usage=train.__doc__, argv=["train", *sys.argv[1:]])
"""
_PATH, _HOSTS, _READING = CHECKS = ("path", "hosts", "reading")

FLAGS = flags.FlagValues()
flags.DEFINE_list("stores", None, f"of {', '.join(NAMES)}; by default those that can run here", flag_values=FLAGS)
flags.DEFINE_list("checks", list(CHECKS), f"of {', '.join(CHECKS)}", flag_values=FLAGS)
flags.DEFINE_float("faults", 0.05, "share of requests that fail", lower_bound=0.0, upper_bound=0.5, flag_values=FLAGS)
flags.DEFINE_float("latency_ms", 5.0, "added to every request", lower_bound=0.0, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the faults", flag_values=FLAGS)
flags.DEFINE_integer("tracks_per_genre", 3, "tracks of each of ten genres", lower_bound=3, flag_values=FLAGS)
flags.DEFINE_string("engines_dir", "build/engines", "where fake-gcs-server is kept", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/stores", "where audio and outputs are kept", flag_values=FLAGS)
flags.DEFINE_string("results", "", "JSON file for the table of docs/results", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Run the path here, then all checks on each store; return the exit status."""
    command_line.no_arguments(positional)
    stores, checks = _choose(flag_values.stores), _choose_checks(flag_values.checks)
    work_dir = Path(flag_values.work_dir).resolve()
    audio = _make_audio(work_dir, flag_values.tracks_per_genre)
    local = work_dir / "local"
    expected: dict[str, Any] = {}
    if {_PATH, _HOSTS} & set(checks):
        shutil.rmtree(local, ignore_errors=True)
        expected = run_path(str(audio), str(local), os.environ | _THREADS, kills=False)
    rows = []
    faults = {"share": flag_values.faults, "latency_s": flag_values.latency_ms / 1000, "seed": flag_values.seed}
    for name in stores:
        with emulator(name, work_dir, Path(flag_values.engines_dir)) as upstream:
            if _PATH in checks:
                rows.append((name, _PATH, *_check_path(name, upstream, audio, expected, faults)))
            if _HOSTS in checks:
                shares = store_readers.hosts(name, upstream, work_dir, clips=640, shards=128, **faults)
                rows.append((name, _HOSTS, *shares))
                rows.append((name, _HOSTS, *_check_training(name, upstream, local, faults)))
            if _READING in checks and name == "gcs":
                problems, lines = store_readers.waiting(name, upstream, work_dir, clips=(1920, 7680))
                rows += [(name, _READING, problems if line == lines[-1] else [], line) for line in lines]
        for row in rows:
            if row[0] == name:
                print(": ".join([f"{name}, {row[1]}", *row[2], row[3]]), flush=True)
    if flag_values.results:
        _write_results(Path(flag_values.results), rows, flag_values)
    return int(any(problems for _, _, problems, _ in rows))


def _write_results(path: Path, rows: list[tuple[str, str, list[str], str]], flag_values: flags.FlagValues) -> None:
    """Write a table for the documentation (see tools.docs_pages)."""
    # Not where the files of this run lie.
    names = ("stores", "checks", "faults", "latency_ms", "seed", "tracks_per_genre")
    given = [flag_values[name].serialize() for name in names if flag_values[name].present]
    data = {
        "title": "Emulated stores, through a network that fails",
        "commands": [" ".join(["python -m tools.stores", *given])],
        "measured": f"{datetime.date.today():%d %B %Y}, {os.cpu_count()} cores",
        "columns": ["store", "check", "outcome"],
        "rows": [[name, check, "; ".join([*problems, line])] for name, check, problems, line in rows],
    }
    path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


def _choose(names: list[str] | None) -> list[str]:
    for name in names or ():
        if name not in NAMES:
            raise UserError(f"--stores: no store {name!r}; choose of {', '.join(NAMES)}")
    if shutil.which("go"):
        return names or list(NAMES)
    if names and "gcs" in names:
        raise UserError("--stores=gcs: needs go on the PATH")
    print("gcs: left out, no go on the PATH", flush=True)
    return ["s3"]


def _choose_checks(names: list[str]) -> list[str]:
    for name in names:
        if name not in CHECKS:
            raise UserError(f"--checks: no check {name!r}; choose of {', '.join(CHECKS)}")
    return names


def _check_path(
    name: str, upstream: int, audio: Path, expected: Mapping[str, Any], faults: Mapping[str, Any]
) -> tuple[list[str], str]:
    """Return how the path on a store differs from that on this machine, and what the proxy did."""
    with FaultyProxy(upstream, **faults) as proxy:
        env = _env(name, proxy.port, audio.parent)
        _upload(audio, f"{root(name)}/audio", env)
        found = run_path(f"{root(name)}/audio", root(name), env, kills=True)
        problems = differences(found, expected)
        return problems, ("" if problems else "as on this machine; ") + proxy.describe()


def _check_training(name: str, upstream: int, local: Path, faults: Mapping[str, Any]) -> tuple[list[str], str]:
    """Train on 2 hosts, kill them, go on on 1 and on 4; return what is wrong, and how far the losses are apart."""
    url = f"{root(name)}/several"
    _train_on_hosts(os.environ | _THREADS, str(local), f"alone_{name}", 1)
    expected = (local / f"alone_{name}" / "history.csv").read_bytes()
    with FaultyProxy(upstream, **faults) as proxy:
        env = _env(name, proxy.port, local.parent)
        _upload(local / "data", f"{url}/data", env)
        _train_on_hosts(env, url, "job", 2, kills=True)
        _copy_job(f"{url}/job", f"{url}/job_4", env)
        apart = {}
        for job, count in (("job", 1), ("job_4", 4)):
            _train_on_hosts(env, url, job, count)
            found = _read_all(url, (job,), env)[f"{job}/history.csv"]
            apart[count] = _most_apart(found, expected)
    problems = [f"the losses of 2 hosts and {count} are {most:.1e} off" for count, most in apart.items() if most > 1e-5]
    words = ", ".join(f"{most:.0e} on {count}" for count, most in apart.items())
    return problems, f"a training killed on 2 hosts goes on on 1 and on 4; losses off those of one host: {words}"


def _env(name: str, port: int, work_dir: Path) -> dict[str, str]:
    """Return the environment of commands on a store, with an empty cache of shards."""
    cache_dir = store_readers.fresh_cache(work_dir, f"{name}_commands")
    return os.environ | _THREADS | environment(name, port) | {DIR_VARIABLE: cache_dir}


def _most_apart(found: bytes, expected: bytes) -> float:
    """Return the largest difference between the numbers of two histories, infinity where they have others."""
    one, other = ([[float(value) for value in row.values()] for row in _rows(text)] for text in (found, expected))
    return float(np.abs(np.subtract(one, other)).max()) if np.shape(one) == np.shape(other) else float("inf")


def _rows(text: bytes) -> "csv.DictReader[str]":
    return csv.DictReader(io.StringIO(text.decode("utf-8")))


def _train_on_hosts(env: Mapping[str, str], url: str, job: str, count: int, *, kills: bool = False) -> None:
    """Train on so many hosts, without dropout, to the end; or, killed, until the first epoch is published."""
    ports = [free_port() for _ in range(count)]
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    command = ("-c", _TRAIN_WITHOUT_DROPOUT, *_train(url, job)[2:])
    with contextlib.ExitStack() as stack:
        started = []
        for index in range(count):
            config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
            own = {**env, "TF_CONFIG": config} if count > 1 else env
            out = subprocess.PIPE if index == 0 else subprocess.DEVNULL
            started.append(
                stack.enter_context(processes.started(*command, stdout=out, stderr=subprocess.DEVNULL, env=own))
            )
        for line in started[0].stdout or ():
            # The line is printed before the epoch is published.
            if kills and line.startswith("epoch 2 "):
                return
        statuses = [process.wait() for process in started]
    if kills or any(statuses):
        raise RuntimeError(f"a training on {count} hosts ended with status {statuses}")


def _copy_job(source: str, target: str, env: Mapping[str, str]) -> None:
    _in_process(
        "import sys; from tfrecords import storage\n"
        "for location, _ in storage.walk(sys.argv[1]):\n"
        "    if not location.endswith('.lock'):\n"
        "        storage.copy(location, sys.argv[2] + location[len(sys.argv[1]):])",
        env,
        source,
        target,
    )


def _make_audio(work_dir: Path, tracks_per_genre: int) -> Path:
    audio = work_dir / f"audio_{tracks_per_genre}"
    if not audio.exists():
        command = ("-m", "beam_preprocess.synthesize", f"--output={audio}", f"--tracks_per_genre={tracks_per_genre}")
        processes.run_checked(*command, "--seconds=6")
    return audio


def run_path(source: str, root: str, env: Mapping[str, str], *, kills: bool) -> dict[str, Any]:
    """Run job, verify, train, evaluate and predict; return what they wrote and printed.

    Args:
      source: the audio.
      root: directory or bucket of the dataset and the training.
      env: environment of the commands.
      kills: whether the training is killed after its first epoch, and started again.
    """
    data_dir, job_dir = f"{root}/data", f"{root}/job"
    job = ("--folds=3", "--name=stores", "--num_shards=6")
    _run(env, "beam_preprocess", f"--input={source}", f"--output={data_dir}", *job)
    _run(env, "tfrecords", "verify", data_dir)
    if kills:
        _train_and_kill(env, *_train(root, "job"))
    _run(env, *_train(root, "job")[1:])
    _run(env, "trainer.evaluate", f"--job_dir={job_dir}")
    song = source.removesuffix("/") + "/" + _first_song(source, env)
    answer = json.loads(_run(env, "trainer.predict", f"--job_dir={job_dir}", "--json", song))
    answer.pop("path", None)
    written = _read_all(root, ("data", "job"), env)
    return {"predict": answer, **{name: data for name, data in written.items() if _is_compared(name)}}


def _train(root: str, job: str) -> tuple[str, ...]:
    return (
        *("-m", "trainer.train", f"--data_dir={root}/data", f"--job_dir={root}/{job}", "--model=frequency"),
        *(f"--epochs={_EPOCHS}", "--batch_size=8", "--save_every_s=0"),
    )


def _is_compared(name: str) -> bool:
    # metrics.json of the job has times; the model's file and TensorBoard's have dates.
    return (name.startswith("data/") and name != "data/metrics.json") or name in ("job/history.csv", "job/metrics.json")


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return what two runs of the path differ in, a phrase for each.

    Example:
      >>> differences({"data/a": b"1", "data/b": b""}, {"data/a": b"2"})
      ['data/a differs', 'data/b is there, too']
    """
    phrases = []
    for name in sorted({*found, *expected}):
        if name not in found:
            phrases.append(f"{name} is missing")
        elif name not in expected:
            phrases.append(f"{name} is there, too")
        elif _comparable(name, found[name]) != _comparable(name, expected[name]):
            phrases.append(f"{name} differs")
    return phrases


def _comparable(name: str, data: Any) -> Any:
    if name != "job/metrics.json":
        return data
    return {key: value for key, value in json.loads(data).items() if key != "data_dir"}


def _run(env: Mapping[str, str], *command: str) -> str:
    return processes.run_checked("-m", *command, env=env).stdout


def _train_and_kill(env: Mapping[str, str], *command: str) -> None:
    with processes.started(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env) as process:
        for line in process.stdout or ():
            if line.startswith("epoch 1 "):
                break


def _in_process(program: str, env: Mapping[str, str], *arguments: str) -> str:
    """Run a few lines that use tfrecords.storage in a process of that environment, which sets the stores' addresses."""
    finished = processes.run_checked("-c", program, *arguments, env=env)
    return finished.stdout


def _upload(audio: Path, url: str, env: Mapping[str, str]) -> None:
    _in_process(
        "import sys; from tfrecords import storage\n"
        "for location, _ in storage.walk(sys.argv[1]):\n"
        "    storage.copy(location, sys.argv[2] + location[len(sys.argv[1]):])",
        env,
        str(audio),
        url,
    )


def _first_song(source: str, env: Mapping[str, str]) -> str:
    program = "import sys; from tfrecords import storage; print(next(storage.walk(sys.argv[1]))[0][len(sys.argv[1]):])"
    return _in_process(program, env, source).strip().lstrip("/")


def _read_all(root: str, directories: tuple[str, ...], env: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files in some directories, by their names below the root."""
    program = (
        "import sys; from tfrecords import storage\n"
        "for part in sys.argv[2:]:\n"
        "    for location, _ in storage.walk(f'{sys.argv[1]}/{part}'):\n"
        "        print(location[len(sys.argv[1]) + 1:], storage.read(location).hex())"
    )
    lines = _in_process(program, env, root, *directories).splitlines()
    return {name: bytes.fromhex(data) for name, _, data in (line.partition(" ") for line in lines)}


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
