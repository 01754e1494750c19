"""Runs the whole path on emulated stores, through a network that fails, and compares it with a run on this machine.

python -m tools.stores [--stores=gcs,s3] [--faults=0.05] [--latency_ms=5] [--seed=0] [--tracks_per_genre=3]
    [--work_dir=DIR]

fake-gcs-server and moto's server for S3 are reached through a proxy that adds latency and, drawn by the seed for a
share of the requests, answers 429 or 503, resets the connection before or after the store has done what was asked, or
cuts an answer's body. On each store the job reads audio from a bucket and writes a dataset there, which is verified; a
training is killed (SIGKILL) once it has finished an epoch, and started again by the same command; then the model is
scored and names the genre of a file. Shards and manifest have to be those of the run on this machine, byte for byte;
losses, scores and answers the same to the last digit.

fake-gcs-server is built once, into --engines_dir, by go; without go on the PATH that store is left out, with a word.

Exit status 1 if anything differs.
"""

import contextlib
import http.client
import http.server
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import processes
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError

_FAKE_GCS = "github.com/fsouza/fake-gcs-server"
_FAKE_GCS_VERSION = "v1.56.1"
_STORES = ("gcs", "s3")
_BUCKET = "music"
_START_LIMIT_S = 60
# Headers that hold for one connection only.
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "te", "upgrade"}
_THREADS = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
_EPOCHS = 4

FLAGS = flags.FlagValues()
flags.DEFINE_list("stores", None, f"of {', '.join(_STORES)}; by default those that can run here", flag_values=FLAGS)
flags.DEFINE_float("faults", 0.05, "share of requests that fail", lower_bound=0.0, upper_bound=0.5, flag_values=FLAGS)
flags.DEFINE_float("latency_ms", 5.0, "added to every request", lower_bound=0.0, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the faults", flag_values=FLAGS)
flags.DEFINE_integer("tracks_per_genre", 3, "tracks of each of ten genres", lower_bound=3, flag_values=FLAGS)
flags.DEFINE_string("engines_dir", "build/engines", "where fake-gcs-server is kept", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/stores", "where audio and outputs are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Run the path here, then on each store; return the exit status."""
    command_line.no_arguments(positional)
    stores = _choose(flag_values.stores)
    work_dir = Path(flag_values.work_dir).resolve()
    audio = _make_audio(work_dir, flag_values.tracks_per_genre)
    shutil.rmtree(work_dir / "local", ignore_errors=True)
    expected = run_path(str(audio), str(work_dir / "local"), os.environ | _THREADS, kills=False)
    failed = 0
    for name in stores:
        with contextlib.ExitStack() as stack:
            upstream = stack.enter_context(_emulator(name, work_dir, Path(flag_values.engines_dir)))
            proxy = FaultyProxy(
                upstream, share=flag_values.faults, latency_s=flag_values.latency_ms / 1000, seed=flag_values.seed
            )
            stack.enter_context(proxy)
            env = os.environ | _THREADS | _environment(name, proxy.port)
            root = f"{'gs' if name == 'gcs' else 's3'}://{_BUCKET}"
            _upload(audio, f"{root}/audio", env)
            found = run_path(f"{root}/audio", root, env, kills=True)
        problems = differences(found, expected)
        failed += bool(problems)
        print(f"{name}: {'; '.join(problems) if problems else 'as on this machine'}; {proxy.describe()}", flush=True)
    return 1 if failed else 0


def _choose(names: list[str] | None) -> list[str]:
    for name in names or ():
        if name not in _STORES:
            raise UserError(f"--stores: no store {name!r}; choose of {', '.join(_STORES)}")
    if shutil.which("go"):
        return names or list(_STORES)
    if names and "gcs" in names:
        raise UserError("--stores=gcs: needs go on the PATH")
    print("gcs: left out, no go on the PATH", flush=True)
    return ["s3"]


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
    train = (
        *("-m", "trainer.train", f"--data_dir={data_dir}", f"--job_dir={job_dir}", "--model=frequency"),
        *(f"--epochs={_EPOCHS}", "--batch_size=8", "--save_every_s=0"),
    )
    if kills:
        _train_and_kill(env, *train)
    _run(env, *train[1:])
    _run(env, "trainer.evaluate", f"--job_dir={job_dir}")
    song = source.removesuffix("/") + "/" + _first_song(source, env)
    answer = json.loads(_run(env, "trainer.predict", f"--job_dir={job_dir}", "--json", song))
    answer.pop("path", None)
    written = _read_all(root, env)
    return {"predict": answer, **{name: data for name, data in written.items() if _is_compared(name)}}


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


def _read_all(root: str, env: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files of a dataset and of a training, by their names below the root."""
    program = (
        "import sys; from tfrecords import storage\n"
        "for part in ('data', 'job'):\n"
        "    for location, _ in storage.walk(f'{sys.argv[1]}/{part}'):\n"
        "        print(location[len(sys.argv[1]) + 1:], storage.read(location).hex())"
    )
    lines = _in_process(program, env, root).splitlines()
    return {name: bytes.fromhex(data) for name, _, data in (line.partition(" ") for line in lines)}


def _environment(name: str, port: int) -> dict[str, str]:
    address = f"http://127.0.0.1:{port}"
    if name == "gcs":
        return {"STORAGE_EMULATOR_HOST": address}
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "anyone",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_REGION": "us-east-1",
    }


@contextlib.contextmanager
def _emulator(name: str, work_dir: Path, engines_dir: Path) -> Iterator[int]:
    """Yield the port of an emulated store with an empty bucket."""
    port = _free_port()
    if name == "gcs":
        program = str(_install_fake_gcs(engines_dir))
        command = [program, "-scheme=http", "-host=127.0.0.1", f"-port={port}", "-backend=memory"]
        command.append(f"-public-host=127.0.0.1:{port}")
        create = urllib.request.Request(
            f"http://127.0.0.1:{port}/storage/v1/b?project=music",
            json.dumps({"name": _BUCKET}).encode(),
            {"Content-Type": "application/json"},
        )
    else:
        program = str(Path(sys.executable).with_name("moto_server"))
        command = [program, "--host=127.0.0.1", f"--port={port}"]
        create = urllib.request.Request(f"http://127.0.0.1:{port}/{_BUCKET}", method="PUT")
    with (work_dir / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, text=True, start_new_session=True)
    try:
        _until_it_answers(create)
        yield port
    finally:
        processes.kill(process)


def _until_it_answers(request: urllib.request.Request) -> None:
    ends = time.monotonic() + _START_LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - of loopback
                return
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            if time.monotonic() > ends:
                raise UserError(f"{request.full_url} does not answer: {error}") from None
            time.sleep(0.1)


def _install_fake_gcs(engines_dir: Path) -> Path:
    folder = engines_dir.resolve() / f"fake-gcs-server-{_FAKE_GCS_VERSION}"
    if not (folder / "fake-gcs-server").exists():
        command = ["go", "install", f"{_FAKE_GCS}@{_FAKE_GCS_VERSION}"]
        subprocess.run(command, env=os.environ | {"GOBIN": str(folder)}, check=True)
    return folder / "fake-gcs-server"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class FaultyProxy(http.server.ThreadingHTTPServer):
    """Stands between clients and a store, and fails now and then.

    Attributes:
      port: at which it listens, on loopback.
      counts: what was done to requests -> how often.
      bytes_sent: bodies of answers that clients were sent.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream: int, *, share: float, latency_s: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = self.server_port
        self.upstream = upstream
        self.latency_s = latency_s
        self.counts: Counter[str] = Counter()
        self.bytes_sent = 0
        self._share = share
        self._rng = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._lock = threading.Lock()

    def __enter__(self) -> "FaultyProxy":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def draw(self) -> str:
        """Return what is to be done to the next request."""
        with self._lock:
            faults = ("429", "503", "reset before", "reset after", "torn")
            chosen = self._rng.choice(faults) if self._rng.random() < self._share else "passed"
            self.counts[chosen] += 1
            return chosen

    def sent(self, size: int) -> None:
        """Count the body of an answer."""
        with self._lock:
            self.bytes_sent += size

    def describe(self) -> str:
        """Return how many requests there were, and what was done to them."""
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()) if name != "passed")
        return f"{self.counts.total()} requests, {self.bytes_sent / 1e6:.1f} MB sent; faults: {faults or 'none'}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FaultyProxy
    protocol_version = "HTTP/1.1"
    # Or the system waits 40 ms between the headers and the body of an answer.
    disable_nagle_algorithm = True

    def _forward(self) -> None:
        body = self._body()
        time.sleep(self.server.latency_s)
        fault = self.server.draw()
        if fault in ("429", "503"):
            self._answer(int(fault), {}, b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>")
            return
        if fault != "reset before":
            status, headers, data = self._ask(body)
            if fault != "reset after" and (fault != "torn" or self.command == "HEAD" or not data):
                self._answer(status, headers, data)
                return
            if fault == "torn":
                self._answer(status, headers, data, sent=len(data) // 2)
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _forward  # noqa: N815 - names of http.server

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        try:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: Mapping[str, str], data: bytes, sent: int | None = None) -> None:
        self.send_response_only(status)
        names = {name.lower() for name in headers}
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP and (name.lower() != "content-length" or self.command == "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD" or "content-length" not in names:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:sent])
            self.wfile.flush()
            self.server.sent(len(data[:sent]))

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - as in http.server
        """Log nothing."""


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
