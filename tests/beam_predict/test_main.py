import copy
import subprocess
import sys
from pathlib import Path

import pytest

from beam_predict import __main__ as main_module
from beam_predict import job
from tfrecords.common import command_line

ROOT = Path(__file__).parents[2]


def run(*arguments):
    values = copy.deepcopy(main_module.FLAGS)
    argv = ["beam_predict", *arguments]
    command_line.run(main_module.main, values, usage=main_module.__doc__, pass_through=True, argv=argv)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--model_dir=JOB|EXPORT are needed"),
        (("--input=in", "--output=out"), "--model_dir=JOB|EXPORT are needed"),
        (("--input=in", "--output=out", "--model_dir=nowhere"), "--model_dir="),
        (("--input=in", "--output=out", "--model_dir=nowhere", "--num_shards=0"), "--num_shards must be at least 1"),
        (("--input=in", "--output=out", "--model_dir=nowhere", "--embeding"), "did you mean --embedding?"),
    ],
)
def test_mistakes_end_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as status:
        run(*arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert status.value.code == 2
    assert line.startswith("error: ") and message in line


def test_flags_reach_the_job(monkeypatch):
    given = []
    monkeypatch.setattr(job, "run", lambda config, **options: given.append((config, options)))
    with pytest.raises(SystemExit):
        run("--input=file:///in", "--output=OUT/", "--model_dir=JOB", "--embedding", "--runner=FlinkRunner")
    ((config, options),) = given
    assert (config.source, config.output, config.model_dir, config.embedding) == ("/in", "OUT", "JOB", True)
    assert options["beam_args"] == ["--runner=FlinkRunner"]


def test_the_launcher_needs_no_tensorflow():
    program = "import sys, beam_predict.job\nprint({'tensorflow', 'keras', 'librosa', 'matplotlib'} & set(sys.modules))"
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
