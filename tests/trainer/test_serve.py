import copy
import json
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from tfrecords.common.command_line import UserError
from trainer import serve


def main(*arguments):
    values = copy.deepcopy(serve.FLAGS)
    serve.main(values, values(["serve", *map(str, arguments)])[1:])


def test_it_serves_until_a_signal_ends_it(exported):
    command = [sys.executable, "-m", "trainer.serve", f"--export_dir={exported}", "--port=0", "--name=tiny"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = re.search("http://[^;]*", process.stdout.readline())[0]
        with urllib.request.urlopen(address) as response:
            assert json.load(response)["model_version_status"][0]["state"] == "AVAILABLE"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--export_dir=DIR is needed"),
        (("--export_dir=/nonexistent",), "no exported model"),
        (("--export_dir=/nonexistent", "--name=a/b"), "--name must be a word"),
        (("--export_dir=/nonexistent", "--max_upload_mb=nan"), "--max_upload_mb must be a number"),
        (("--export_dir=/nonexistent", "--max_duration_s=nan"), "--max_duration_s must be a number"),
    ],
)
def test_a_mistake_is_one_line(flags, words):
    with pytest.raises(UserError, match=words):
        main(*flags)


def test_a_port_in_use_is_told_before_the_model_is_loaded(exported):
    with pytest.raises(UserError, match=r"--host=192\.0\.2\.1 --port=1 cannot be used"):
        main(f"--export_dir={exported}", "--host=192.0.2.1", "--port=1")
