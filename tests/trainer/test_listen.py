import copy
import dataclasses
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from importlib import resources

import pytest

from tests.trainer.serving.web.page_server import recognition_of
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from trainer import listen
from trainer.serving import embeddings
from trainer.serving.embeddings import Origin
from trainer.training_job import CHECKPOINT_FILE


def run(*arguments):
    """The exit status of the command line."""
    with pytest.raises(SystemExit) as ended:
        command_line.run(
            listen.main,
            copy.deepcopy(listen.FLAGS),
            usage=listen.__doc__,
            argv=["listen", *map(str, arguments)],
        )
    return ended.value.code


def test_help_imports_neither_server_nor_keras():
    program = (
        "import sys; from tfrecords.common import command_line; from trainer import listen\n"
        "try: command_line.run(listen.main, listen.FLAGS, usage='')\n"
        "finally: print({'uvicorn', 'starlette', 'keras'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\nset()\n")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--job_dir=JOB is needed"),
        (("--job_dir=/nonexistent",), "no config.json, so no trained model"),
        (("--job_dir=/nonexistent", "song.mp3"), "unexpected argument 'song.mp3'"),
        (("--job_dir=/nonexistent", "--port=70000"), "port"),
        (("--job_dir=/nonexistent", "--embeddings=/nonexistent"), "no config.json, so no trained model"),
        (("--job_dir=/nonexistent", "--max_upload_mb=0"), "max_upload_mb"),
        (("--job_dir=/nonexistent", "--max_upload_mb=nan"), "--max_upload_mb must be a number"),
        (("--job_dir=/nonexistent", "--max_duration_s=nan"), "--max_duration_s must be a number"),
    ],
)
def test_a_mistake_ends_in_one_line(capsys, flags, words):
    assert run(*flags) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and words in printed.err and printed.err.count("\n") == 1


def test_a_port_in_use_is_told_before_the_model_is_loaded(capsys, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "job")
    (tmp_path / "job" / CHECKPOINT_FILE).write_bytes(b"never read")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(f"--job_dir={tmp_path / 'job'}", f"--port={port}") == 2
    printed = capsys.readouterr().err
    assert printed == f"error: --port={port} cannot be used: Address already in use; choose another, or 0 for any\n"


def test_a_job_without_a_model_is_told(capsys, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "job")
    (tmp_path / "job" / CHECKPOINT_FILE).unlink()
    assert run(f"--job_dir={tmp_path / 'job'}", "--port=0") == 2
    printed = capsys.readouterr()
    assert printed.out == "" and CHECKPOINT_FILE in printed.err and printed.err.count("\n") == 1


def test_a_collection_is_of_the_same_model(recognizer, tmp_path):
    path = str(tmp_path / "all.parquet")
    with embeddings.write(path, Origin.of(recognizer), num_units=2) as writer:
        writer.add("a.wav", recognition_of())
    assert len(listen.load_collection(path, recognizer)) == 1
    origin = dataclasses.replace(Origin.of(recognizer), fingerprint="0" * 64)
    with embeddings.write(path, origin, num_units=2) as writer:
        writer.add("a.wav", recognition_of())
    with pytest.raises(UserError, match="was made by another model"):
        listen.load_collection(path, recognizer)


def test_the_page_says_what_the_model_is(recognizer):
    assert listen.facts(recognizer) == {
        "model": "time",
        "labels": ["blues", "jazz", "rock"],
        "kind": "genres",
        "fmin_hz": 0.0,
        "fmax_hz": 11025.0,
    }


def test_the_pages_files_are_part_of_the_package():
    setup = (resources.files("trainer") / ".." / "setup.py").read_text("utf-8")
    assert '"trainer.serving.web": ["page/*"]' in setup


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_one_line_when_told(trained, ending):
    command = [sys.executable, "-m", "trainer.listen", f"--job_dir={trained}", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = re.fullmatch(
                r"open (http://127.0.0.1:\d+/) in a browser; Ctrl-C ends it\n", process.stdout.readline()
            )
            with urllib.request.urlopen(url[1], timeout=60) as page:
                assert b"Which genre" in page.read()
            with pytest.raises(urllib.error.HTTPError, match="422"):
                urllib.request.urlopen(f"{url[1]}recognition", b"text", timeout=60)
            process.send_signal(ending)
            assert process.communicate(timeout=300) == ("ended\n", "")
            assert process.returncode == 0
        finally:
            process.kill()
