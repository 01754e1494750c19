"""What trainer.serve bears: many clients that send audio files at once, against trainer.predict on the same files.

python -m benchmarks.serve [--clips=100] [--seconds=30] [--clients=16] [--duration_s=60] [--work_dir=DIR]

The server and trainer.predict have the same model, trained for one epoch, and the same synthesised 16-bit WAV clips.
Each client sends one clip after another, on a connection of its own, for --duration_s. Before and after it, predict
names all clips in a process of its own; its time begins after start-up.
"""

import http.client
import os
import re
import subprocess
import threading
import time
from pathlib import Path

from absl import flags

from benchmarks import clips as clip_files
from benchmarks import predict, processes
from tfrecords.common import command_line

_ADDRESS = re.compile(r"http://([\d.]+):(\d+)/v1/models/genre")
_RESIDENT = re.compile(r"VmRSS:\s+(\d+) kB")

FLAGS = flags.FlagValues()
flags.DEFINE_integer("clips", 100, "clips to name, a multiple of 10", lower_bound=30, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("clients", 16, "clients at once", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_float("duration_s", 60.0, "how long the clients send", lower_bound=1.0, flag_values=FLAGS)
flags.DEFINE_string("model", "black_box", "which model", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where clips and models are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Make clips, model and export once, time predict, the server and predict again, and print their ratio."""
    command_line.no_arguments(positional)
    work_dir = Path(flag_values.work_dir)
    folder = clip_files.make_clips(work_dir, clips=flag_values.clips, seconds=flag_values.seconds)
    job_dir = predict.make_job(work_dir, folder, model=flag_values.model)
    export_dir = work_dir / f"{job_dir.name}_export"
    processes.run_checked("-m", "trainer.export", f"--job_dir={job_dir}", f"--export_dir={export_dir}", "--overwrite")
    files = [path.read_bytes() for path in sorted(folder.rglob("*.wav"))]
    before = len(files) / predict.seconds_of("predict", job_dir, folder)
    served = under_load(export_dir, files, clients=flag_values.clients, duration_s=flag_values.duration_s)
    after = len(files) / predict.seconds_of("predict", job_dir, folder)
    by_predict = (before + after) / 2
    print(
        f"{flag_values.clients} clients for {flag_values.duration_s:g} s, clips of {flag_values.seconds:g} s, "
        f"{flag_values.model}, on {os.cpu_count()} cores\n"
        f"  trainer.serve    {served.answers / served.seconds:7.1f} clips/s, {served.errors} errors, resident memory "
        f"{served.memory_bytes[0] / processes.MIB:.0f} MiB after a tenth, "
        f"{served.memory_bytes[1] / processes.MIB:.0f} MiB at the end\n"
        f"  trainer.predict  {by_predict:7.1f} clips/s ({before:.1f} before, {after:.1f} after)\n"
        f"  predict / serve = {by_predict * served.seconds / max(1, served.answers):.2f}"
    )


class Load:
    """What clients got.

    Attributes:
      answers: how many clips were named.
      errors: how many requests were not answered with status 200.
      seconds: from the first request to the last answer.
      memory_bytes: the server's resident memory after a tenth of the time, and at the end.
    """

    def __init__(self) -> None:
        self.answers = self.errors = 0
        self.seconds = 0.0
        self.memory_bytes = [0, 0]
        self._lock = threading.Lock()

    def count(self, *, ok: bool) -> None:
        """Add one answer or one error."""
        with self._lock:
            self.answers += ok
            self.errors += not ok


def under_load(export_dir: Path, files: list[bytes], *, clients: int, duration_s: float) -> Load:
    """Start a server, let clients send files to it for a time, and end it.

    Args:
      export_dir: of the model.
      files: what is sent, in turn.
      clients: how many send at once.
      duration_s: for how long.
    """
    load = Load()
    command = ("-m", "trainer.serve", f"--export_dir={export_dir}", "--port=0")
    with processes.started(*command, stdout=subprocess.PIPE) as server:
        found = _ADDRESS.search(server.stdout.readline() if server.stdout else "")
        if not found:
            raise ValueError("the server did not start")
        host, port = found[1], int(found[2])
        _classify(host, port, files[0])
        began = time.perf_counter()
        deadline = began + duration_s
        threads = [
            threading.Thread(target=_send, args=(host, port, files[number::clients] or files, deadline, load))
            for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        time.sleep(duration_s / 10)
        load.memory_bytes[0] = _resident_bytes(server.pid)
        for thread in threads:
            thread.join()
        load.seconds = time.perf_counter() - began
        load.memory_bytes[1] = _resident_bytes(server.pid)
    return load


def _send(host: str, port: int, files: list[bytes], deadline: float, load: Load) -> None:
    number = 0
    while time.perf_counter() < deadline:
        try:
            ok = _classify(host, port, files[number % len(files)]) == 200
        except (OSError, http.client.HTTPException):
            ok = False
        load.count(ok=ok)
        number += 1


def _classify(host: str, port: int, content: bytes) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=120)
    try:
        connection.request("POST", "/v1/models/genre:classify", content)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def _resident_bytes(pid: int) -> int:
    found = _RESIDENT.search(Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
