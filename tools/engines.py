"""Runs the job on Beam's local runner, on Prism and on Flink, and compares every byte that they write.

python -m tools.engines [--engines=prism,flink] [--clips=400] [--seconds=30] [--num_shards=40] [--work_dir=DIR]

Flink is a standalone cluster of separate processes on loopback: a job manager, two task managers and Beam's job
server. Each task manager starts its own workers (PROCESS). It runs the job twice; in the second run one of the task
managers is killed (SIGKILL) as soon as half of the shards are finished. A cluster of one task manager then runs the job
with its workers in the launcher (LOOPBACK) and in a worker pool (EXTERNAL: as on a node of a real cluster). All that
was started is ended by its process id.

Engines are fetched once, into --engines_dir, by the clients of their languages: Prism by go; Flink by pip and Maven, to
be run by Java. An engine whose clients are not on this machine is left out, with a word, unless --engines names it.

On Prism and on the first cluster, beam_predict names the clips as well, with a model that was trained on some of them.

Exit status 1 if anything differs.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import clips as clip_files
from benchmarks import predict, processes
from tfrecords.common import command_line
from tools.kill_and_resume import differences, digests, job, make_source, wait_for_shards

# What has to be on the PATH.
NEEDS = {"prism": ("go",), "flink": ("java", "mvn")}
_PRISM = "github.com/apache/beam/sdks/v2/go/cmd/prism"
_SLOTS = 2
_JOB_LIMIT_S = 1200
_ROOT = Path(__file__).parents[1]
# Its classes come from the Python package apache-flink-libraries, the job server's from Maven.
_FLINK_VERSION = "1.19.3"
_POM = Path(__file__).parent / "flink" / "pom.xml"
_START_LIMIT_S = 120
_POLL_S = 0.1
# What Flink's own start script opens to it on Java 17.
_OPENED = ("lang", "net", "io", "nio", "lang.reflect", "text", "time", "util", "util.concurrent")
_JAVA = (
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPENED),
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.locks=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
)
# A task manager's memory, each share of it by hand: Flink's start script would compute them.
_TASK_MANAGER_MEMORY = {
    "framework.heap.size": "128m",
    "task.heap.size": "768m",
    "framework.off-heap.size": "128m",
    "task.off-heap.size": "128m",
    "network.min": "256m",
    "network.max": "256m",
    "managed.size": "64m",
    "jvm-metaspace.size": "256m",
    "jvm-overhead.min": "64m",
    "jvm-overhead.max": "64m",
}
_LOGGING = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %-5p %c{1} %m%n
"""

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
    source = make_source(work_dir, clips=flag_values.clips, seconds=flag_values.seconds)
    comparison = Comparison(work_dir, "", lambda output: job(source, output, flag_values.num_shards))
    named = Comparison(work_dir, "predict_", predict_job(source, work_dir, num_shards=flag_values.num_shards))
    shards = sum(".tfrecord-" in name for name in comparison.expected)
    files = sum(path.is_file() for path in source.rglob("*"))
    print(f"{files} files, {shards} shards; apache-beam {metadata.version('apache-beam')}")
    if "prism" in engines:
        prism = ["--runner=PrismRunner", f"--prism_location={install_prism(engines_dir)}"]
        comparison.run("prism", prism)
        named.run("prism", prism)
    if "flink" in engines:
        run_flink(comparison, named, engines_dir)
    return 1 if comparison.failed or named.failed else 0


def predict_job(source: Path, work_dir: Path, *, num_shards: int) -> Callable[[Path], list[str]]:
    """Output -> the command line that names the clips by a model, which is trained here on some of them."""
    few = clip_files.link_clips(source, work_dir / "few", times=1, per_genre=3)
    model_dir = predict.make_job(work_dir, few, model="time")
    flags = [f"--input={source}", f"--model_dir={model_dir}", f"--num_shards={num_shards}", "--embedding"]
    return lambda output: ["-m", "beam_predict", *flags, f"--output={output}"]


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


def install_flink(folder: Path) -> None:
    """Fetches Flink and the job server into a folder, by pip and Maven, unless it is there already.

    Raises:
      subprocess.CalledProcessError: one of them failed.
    """
    if (folder / "job_server").exists():
        return
    # Whole, since Maven takes a path from where the pom lies.
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        package = ["--no-deps", "--no-binary=:all:", f"--dest={scratch}", f"apache-flink-libraries=={_FLINK_VERSION}"]
        _quietly(sys.executable, "-m", "pip", "download", "--quiet", *package)
        (archive,) = Path(scratch).glob("*.tar.gz")
        whole = Path(scratch) / "whole"
        with tarfile.open(archive) as tar:
            tar.extractall(whole, filter="data")
        (lib,) = whole.glob("*/deps/lib")
        lib.rename(whole / "lib")
        _quietly("mvn", "-B", "-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={whole}/job_server")
        whole.rename(folder)


def _quietly(*command: str) -> None:
    finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if finished.returncode:
        print(finished.stdout, file=sys.stderr)
        raise subprocess.CalledProcessError(finished.returncode, command)


class FlinkCluster:
    """One job manager, some task managers and a job server, while the block runs.

    Attributes:
      job_endpoint: host:port of the job server, for --job_endpoint.
    """

    def __init__(self, installed: Path, work_dir: Path, *, task_managers: int, slots: int) -> None:
        """Args: where `install_flink` put it; where configuration and logs go; how many workers, and tasks in each."""
        self._installed = installed.resolve()
        self._work_dir = work_dir.resolve()
        self._wanted = task_managers
        self._slots = slots
        self._ended = contextlib.ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._task_managers: list[subprocess.Popen[bytes]] = []
        rpc_port, rest_port, job_port = free_ports(3)
        self._rpc_port, self._rest_port = rpc_port, rest_port
        self._rest = f"localhost:{rest_port}"
        self.job_endpoint = f"localhost:{job_port}"

    def __enter__(self) -> "FlinkCluster":
        with contextlib.ExitStack() as ended:
            self._start(ended)
            self._ended = ended.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.close()

    def kill_task_manager(self) -> None:
        """Ends one of them at once, without a warning."""
        victim = self._task_managers.pop()
        victim.send_signal(signal.SIGKILL)
        victim.wait()

    def failures(self) -> int:
        """How often any job has failed and was started again, by Flink's own history."""
        jobs = self._ask("/jobs")["jobs"]
        return sum(len(self._ask(f"/jobs/{job['id']}/exceptions")["exceptionHistory"]["entries"]) for job in jobs)

    def _start(self, ended: contextlib.ExitStack) -> None:
        shutil.rmtree(self._work_dir, ignore_errors=True)
        for name in ("conf", "tmp"):
            (self._work_dir / name).mkdir(parents=True)
        (self._work_dir / "conf" / "config.yaml").write_text(self._configuration(), "utf-8")
        (self._work_dir / "conf" / "log4j.properties").write_text(_LOGGING, "utf-8")
        flink = [f"{self._installed}/lib/*"]
        conf = ["--configDir", str(self._work_dir / "conf")]
        entrypoint = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        self._java(ended, "job_manager", flink, "-Xmx512m", entrypoint, *conf, "--executionMode", "cluster")
        memory = [f"-Dtaskmanager.memory.{name}={size}" for name, size in _TASK_MANAGER_MEMORY.items()]
        for number in range(1, self._wanted + 1):
            own = [f"-Dtaskmanager.resource-id=task_manager_{number}", f"-Dtaskmanager.cpu.cores={self._slots}"]
            runner = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
            task_manager = self._java(ended, f"task_manager_{number}", flink, "-Xmx896m", runner, *conf, *memory, *own)
            self._task_managers.append(task_manager)
        job_server = [f"{self._installed}/job_server/*", *map(str, (self._installed / "lib").glob("log4j-*.jar"))]
        host, port = self.job_endpoint.split(":")
        served = ["--job-host", host, "--job-port", port, "--artifact-port", "0", "--expansion-port", "0"]
        driver = ["org.apache.beam.runners.flink.FlinkJobServerDriver", "--flink-master", self._rest, *served]
        self._java(ended, "job_server", job_server, "-Xmx1g", *driver, "--artifacts-dir", str(self._work_dir / "tmp"))
        self._wait(int(port))

    def _configuration(self) -> str:
        # A lost worker is noticed within seconds, and what it did is done again by those that are left.
        settings = {
            "jobmanager.rpc.address": "localhost",
            "jobmanager.bind-host": "localhost",
            "jobmanager.rpc.port": self._rpc_port,
            "rest.address": "localhost",
            "rest.bind-address": "localhost",
            "rest.port": self._rest_port,
            "taskmanager.host": "localhost",
            "taskmanager.bind-host": "localhost",
            "taskmanager.numberOfTaskSlots": self._slots,
            "cluster.evenly-spread-out-slots": "true",
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 10,
            "restart-strategy.fixed-delay.delay": "1s",
            "heartbeat.interval": 1000,
            "heartbeat.timeout": 5000,
            "classloader.resolve-order": "parent-first",
            "io.tmp.dirs": self._work_dir / "tmp",
        }
        return "".join(f"{name}: {value}\n" for name, value in settings.items())

    def _java(
        self, ended: contextlib.ExitStack, name: str, class_path: list[str], heap: str, *arguments: str
    ) -> subprocess.Popen[bytes]:
        logging = f"-Dlog4j.configurationFile={self._work_dir}/conf/log4j.properties"
        command = ["java", *_JAVA, logging, heap, "-cp", ":".join(class_path), *arguments]
        log = ended.enter_context((self._work_dir / f"{name}.log").open("wb"))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._work_dir)
        ended.callback(_end, process)
        self._processes[name] = process
        return process

    def _wait(self, job_port: int) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < deadline:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise command_line.UserError(f"Flink's {name} ended; see {self._work_dir}/{name}.log")
            with contextlib.suppress(OSError):
                if self._ask("/overview")["taskmanagers"] == self._wanted:
                    socket.create_connection(("localhost", job_port), timeout=1).close()
                    return
            time.sleep(_POLL_S)
        raise command_line.UserError(f"Flink did not start within {_START_LIMIT_S} s; see {self._work_dir}/*.log")

    def _ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self._rest}{path}", timeout=10) as answer:
            return json.load(answer)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that were free just now, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("localhost", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in sockets]


class Comparison:
    """One run on Beam's local runner, and what it wrote: what every other run has to write.

    Attributes:
      failed: runs that wrote something else so far.
      work_dir: where outputs and logs are.
      expected: file of the first run -> its digest.
    """

    def __init__(self, work_dir: Path, prefix: str, command: Callable[[Path], list[str]]) -> None:
        """Args: where outputs and logs go; what their names begin with; output -> the job's command line."""
        self.failed = 0
        self.work_dir = work_dir
        self._prefix, self._command = prefix, command
        local = work_dir / f"{prefix}local"
        shutil.rmtree(local, ignore_errors=True)
        processes.run_checked(*command(local))
        self.expected = digests(local)

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
        name = f"{self._prefix}{name}"
        output, log = self.work_dir / name, self.work_dir / f"{name}.log"
        shutil.rmtree(output, ignore_errors=True)
        command = [*self._command(output), *arguments]
        failures = cluster.failures() if cluster else 0
        began = time.monotonic()
        with log.open("w") as stream:
            process = processes.start(*command, stdout=stream.fileno(), stderr=stream.fileno())
            try:
                if cluster and kill:
                    wait_for_shards(output, sum(".tfrecord-" in name for name in self.expected) // 2, process)
                    cluster.kill_task_manager()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=_JOB_LIMIT_S)
            finally:
                processes.kill(process)
        problems = differences(digests(output), self.expected)
        if process.returncode:
            problems.append(f"the job's status was {process.returncode}; see {log}")
        failures = cluster.failures() - failures if cluster else 0
        if kill and not failures:
            problems.append("the engine did not notice that a task manager was killed")
        outcome = f"{len(problems)} problems" if problems else f"{len(self.expected)} files identical"
        recovered = f", recovered from {failures} failures" if failures else ""
        print(f"{name}: {outcome}, {time.monotonic() - began:.0f} s{recovered}", flush=True)
        for problem in problems:
            print(f"  {problem}", flush=True)
        self.failed += bool(problems)


def run_flink(comparison: Comparison, named: Comparison, engines_dir: Path) -> None:
    """The four runs of preprocessing on Flink, and one of beam_predict."""
    installed = engines_dir / f"flink-{_FLINK_VERSION}"
    install_flink(installed)
    logs = comparison.work_dir / "flink_logs"
    with FlinkCluster(installed, logs / "two", task_managers=2, slots=_SLOTS) as cluster:
        process = ["--environment_type=PROCESS", f"--environment_config={worker_command(logs)}"]
        comparison.run("flink", [*flink_job(cluster), *process], cluster=cluster)
        named.run("flink", [*flink_job(cluster), *process], cluster=cluster)
        comparison.run("flink_killed", [*flink_job(cluster), *process], cluster=cluster, kill=True)
    # Task managers number their workers alike, so one launcher or pool cannot tell those of two apart.
    with FlinkCluster(installed, logs / "one", task_managers=1, slots=_SLOTS) as cluster, worker_pool() as address:
        comparison.run("flink_loopback", [*flink_job(cluster), "--environment_type=LOOPBACK"], cluster=cluster)
        external = ["--environment_type=EXTERNAL", f"--environment_config={address}"]
        comparison.run("flink_worker_pool", [*flink_job(cluster), *external], cluster=cluster)


def worker_command(folder: Path) -> str:
    """A command that starts a worker of this environment, as Beam's option wants it."""
    script = folder.resolve() / "worker.sh"
    # Engines start it from wherever they run, and tools are not installed.
    start = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from tools import engines; engines.be_worker()"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c {shlex.quote(start)} "$@"\n', "utf-8")
    script.chmod(0o755)
    return json.dumps({"command": str(script)})


def be_worker() -> None:
    """One Python worker, until the engine hangs up; the command line is that of a worker container's entry point."""
    import grpc
    from apache_beam.portability.api import beam_provision_api_pb2 as provision
    from apache_beam.portability.api import beam_provision_api_pb2_grpc as provision_grpc
    from apache_beam.runners.worker.sdk_worker import SdkHarness

    parser = argparse.ArgumentParser()
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True)
    arguments, _ = parser.parse_known_args()
    with grpc.insecure_channel(arguments.provision_endpoint) as channel:
        service = provision_grpc.ProvisionServiceStub(channel)
        request = provision.GetProvisionInfoRequest()
        answer = service.GetProvisionInfo(request, metadata=[("worker_id", arguments.id)])
    SdkHarness(answer.info.control_endpoint.url, worker_id=arguments.id).run()


def flink_job(cluster: FlinkCluster) -> list[str]:
    """Beam's options for a cluster; so many tasks at a time as fit when one of two task managers is gone."""
    return ["--runner=PortableRunner", f"--job_endpoint={cluster.job_endpoint}", f"--parallelism={_SLOTS}"]


@contextlib.contextmanager
def worker_pool() -> Iterator[str]:
    """A process that starts workers for the task managers of its node; gives its address."""
    (port,) = free_ports(1)
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
