"""A standalone Flink cluster on loopback, of processes of its own, and Beam's job server that submits to it.

Flink's classes come from the Python package apache-flink-libraries, the job server's from Maven (flink/pom.xml).
"""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from tfrecords.command_line import UserError

FLINK_VERSION = "1.19.3"
POM = Path(__file__).parent / "flink" / "pom.xml"
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


def install(folder: Path) -> None:
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
        package = ["--no-deps", "--no-binary=:all:", f"--dest={scratch}", f"apache-flink-libraries=={FLINK_VERSION}"]
        _quietly(sys.executable, "-m", "pip", "download", "--quiet", *package)
        (archive,) = Path(scratch).glob("*.tar.gz")
        whole = Path(scratch) / "whole"
        with tarfile.open(archive) as tar:
            tar.extractall(whole, filter="data")
        (lib,) = whole.glob("*/deps/lib")
        lib.rename(whole / "lib")
        _quietly("mvn", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={whole}/job_server")
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
        """Args: where `install` put it; where configuration and logs go; how many workers, and tasks in each."""
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
                    raise UserError(f"Flink's {name} ended; see {self._work_dir}/{name}.log")
            with contextlib.suppress(OSError):
                if self._ask("/overview")["taskmanagers"] == self._wanted:
                    socket.create_connection(("localhost", job_port), timeout=1).close()
                    return
            time.sleep(_POLL_S)
        raise UserError(f"the Flink cluster did not start within {_START_LIMIT_S} s; see {self._work_dir}/*.log")

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
