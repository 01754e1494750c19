"""Runs the job on Beam's local runner, on Prism and on Flink, and compares every byte that they write.

python -m tools.engines [--engines=prism,flink] [--clips=400] [--seconds=30] [--num_shards=40] [--work_dir=DIR]

Flink is a standalone cluster of separate processes on loopback: a job manager, two task managers and Beam's job
server. Each task manager starts its own workers (PROCESS). It runs the job twice; in the second run one of the task
managers is killed (SIGKILL) as soon as half of the shards are finished. A cluster of one task manager then runs the job
with its workers in the launcher (LOOPBACK) and in a worker pool (EXTERNAL: as on a node of a real cluster). All that
was started is ended by its process id.

Engines are fetched once, into --engines_dir, by the clients of their languages: Prism by go; Flink by pip and Maven, to
be run by Java. An engine whose clients are not on this machine is left out, with a word, unless --engines names it.

Exit status 1 if anything differs.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from absl import flags

from benchmarks import processes
from tfrecords import command_line
from tools import flink_cluster, outputs
from tools.flink_cluster import FlinkCluster

# What has to be on the PATH.
NEEDS = {"prism": ("go",), "flink": ("java", "mvn")}
_PRISM = "github.com/apache/beam/sdks/v2/go/cmd/prism"
_SLOTS = 2
_JOB_LIMIT_S = 1200

FLAGS = flags.FlagValues()
flags.DEFINE_list(
    "engines", None, f"of {', '.join(NEEDS)}; by default those that this machine can run", flag_values=FLAGS
)
flags.DEFINE_integer("clips", 400, "clips to preprocess, a multiple of 10", lower_bound=20, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("num_shards", 40, "shards of the dataset", lower_bound=2, flag_values=FLAGS)
flags.DEFINE_string("engines_dir", "build/engines", "where engines are kept", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/compare_engines", "where clips, outputs and logs are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Runs the job locally, then on each engine; returns the exit status."""
    command_line.no_arguments(positional)
    # So that whoever ends this command ends what it has started.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda number, frame: sys.exit(128 + number))
    engines = choose_engines(flag_values.engines)
    work_dir, engines_dir = Path(flag_values.work_dir), Path(flag_values.engines_dir)
    source = outputs.make_source(work_dir, clips=flag_values.clips, seconds=flag_values.seconds)
    comparison = Comparison(source, work_dir, num_shards=flag_values.num_shards)
    print(f"{comparison.files} files, {comparison.shards} shards; apache-beam {metadata.version('apache-beam')}")
    if "prism" in engines:
        comparison.run("prism", ["--runner=PrismRunner", f"--prism_location={install_prism(engines_dir)}"])
    if "flink" in engines:
        run_flink(comparison, engines_dir)
    return 1 if comparison.failed else 0


def choose_engines(names: Sequence[str] | None) -> list[str]:
    """The engines to run; of those not named, each that cannot run here is left out with a word.

    Raises:
      UserError: no such engine, or one that was named cannot run here.
    """
    if names is not None and not names:
        raise command_line.UserError(f"--engines: name at least one of {', '.join(NEEDS)}")
    for name in names or ():
        if name not in NEEDS:
            raise command_line.UserError(f"--engines: no engine {name!r}; choose of {', '.join(NEEDS)}")
    chosen = []
    for name in names or NEEDS:
        missing = [command for command in NEEDS[name] if shutil.which(command) is None]
        if missing and names:
            raise command_line.UserError(f"--engines={name}: needs {' and '.join(missing)} on the PATH")
        if missing:
            print(f"{name}: left out, no {' and no '.join(missing)} on the PATH", flush=True)
        else:
            chosen.append(name)
    return chosen


def install_prism(engines_dir: Path) -> Path:
    """Builds Beam's prism command, of this SDK's version, unless it is there already."""
    version = metadata.version("apache-beam")
    folder = engines_dir.resolve() / f"prism-{version}"
    if not (folder / "prism").exists():
        command = ["go", "install", f"{_PRISM}@v{version}"]
        subprocess.run(command, env=os.environ | {"GOBIN": str(folder)}, check=True)
    return folder / "prism"


class Comparison:
    """One run on Beam's local runner, and what it wrote: what every other run has to write.

    Attributes:
      failed: runs that wrote something else so far.
      files: of the input.
      shards: of the dataset.
    """

    def __init__(self, source: Path, work_dir: Path, *, num_shards: int) -> None:
        self.failed = 0
        self.work_dir = work_dir
        self.files = sum(path.is_file() for path in source.rglob("*"))
        self._source = source
        self._num_shards = num_shards
        shutil.rmtree(work_dir / "local", ignore_errors=True)
        processes.run_checked(*outputs.job(source, work_dir / "local", num_shards))
        self._expected = outputs.digests(work_dir / "local")
        self.shards = sum(".tfrecord-" in name for name in self._expected)

    def run(
        self, name: str, arguments: Sequence[str], *, cluster: FlinkCluster | None = None, kill: bool = False
    ) -> None:
        """Runs the job with further arguments, prints a line of how it went, and a line per difference.

        Args:
          name: of the run.
          arguments: the engine's.
          cluster: what it runs on; its own failures, from which it has to recover, are told.
          kill: kill a task manager when half of the shards are finished.
        """
        output, log = self.work_dir / name, self.work_dir / f"{name}.log"
        shutil.rmtree(output, ignore_errors=True)
        command = [*outputs.job(self._source, output, self._num_shards), *arguments]
        failures = cluster.failures() if cluster else 0
        began = time.monotonic()
        with log.open("w") as stream:
            process = processes.start(*command, stdout=stream.fileno(), stderr=stream.fileno())
            try:
                if cluster and kill:
                    outputs.wait_for_shards(output, self.shards // 2, process)
                    cluster.kill_task_manager()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=_JOB_LIMIT_S)
            finally:
                processes.kill(process)
        problems = outputs.differences(outputs.digests(output), self._expected)
        if process.returncode:
            problems.append(f"the job's status was {process.returncode}; see {log}")
        failures = cluster.failures() - failures if cluster else 0
        if kill and not failures:
            problems.append("the engine did not notice that a task manager was killed")
        outcome = f"{len(problems)} problems" if problems else f"{len(self._expected)} files identical"
        recovered = f", recovered from {failures} failures" if failures else ""
        print(f"{name}: {outcome}, {time.monotonic() - began:.0f} s{recovered}", flush=True)
        for problem in problems:
            print(f"  {problem}", flush=True)
        self.failed += bool(problems)


def run_flink(comparison: Comparison, engines_dir: Path) -> None:
    """The four runs on Flink."""
    installed = engines_dir / f"flink-{flink_cluster.FLINK_VERSION}"
    flink_cluster.install(installed)
    logs = comparison.work_dir / "flink_logs"
    with FlinkCluster(installed, logs / "two", task_managers=2, slots=_SLOTS) as cluster:
        process = ["--environment_type=PROCESS", f"--environment_config={worker_command(logs)}"]
        comparison.run("flink", [*flink_job(cluster), *process], cluster=cluster)
        comparison.run("flink_killed", [*flink_job(cluster), *process], cluster=cluster, kill=True)
    # Task managers number their workers alike, so one launcher or pool cannot tell those of two apart.
    with FlinkCluster(installed, logs / "one", task_managers=1, slots=_SLOTS) as cluster, worker_pool() as address:
        comparison.run("flink_loopback", [*flink_job(cluster), "--environment_type=LOOPBACK"], cluster=cluster)
        external = ["--environment_type=EXTERNAL", f"--environment_config={address}"]
        comparison.run("flink_worker_pool", [*flink_job(cluster), *external], cluster=cluster)


def worker_command(folder: Path) -> str:
    """A command that starts a worker of this environment, as Beam's option wants it."""
    script = folder.resolve() / "worker.sh"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tools.beam_worker "$@"\n', "utf-8")
    script.chmod(0o755)
    return json.dumps({"command": str(script)})


def flink_job(cluster: FlinkCluster) -> list[str]:
    """Beam's options for a cluster; so many tasks at a time as fit when one of two task managers is gone."""
    return ["--runner=PortableRunner", f"--job_endpoint={cluster.job_endpoint}", f"--parallelism={_SLOTS}"]


@contextlib.contextmanager
def worker_pool() -> Iterator[str]:
    """A process that starts workers for the task managers of its node; gives its address."""
    (port,) = flink_cluster.free_ports(1)
    # It starts each worker as `python`.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    command = ["-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    pool = processes.start(*command, stderr=subprocess.DEVNULL, env=os.environ | {"PATH": path})
    try:
        yield f"localhost:{port}"
    finally:
        processes.kill(pool)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
