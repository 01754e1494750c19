"""A job directory whose model this version does not have is refused, whatever is asked of it."""

import copy
import json
import shutil

import pytest

from tfrecords.common import command_line
from trainer import evaluate, export, listen, predict, train

COMMANDS = {
    train: ["--data_dir={data}", "--job_dir={job}", "--model=time"],
    evaluate: ["--job_dir={job}"],
    predict: ["--job_dir={job}", "{job}/song.wav"],
    export: ["--job_dir={job}", "--export_dir={job}/export"],
    listen: ["--job_dir={job}"],
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
@pytest.mark.parametrize("model", ["band_cnn", "musical_cnn"])
def test_one_line_and_status_2(trained, tiny, tmp_path, capfd, command, model):
    job_dir = tmp_path / "job"
    shutil.copytree(trained, job_dir)
    config = json.loads((job_dir / "config.json").read_text())
    options = {"filters": 48, "band_normalization": 1}
    (job_dir / "config.json").write_text(json.dumps(config | {"model": model, "model_options": options}))
    arguments = [argument.format(data=tiny.path, job=job_dir) for argument in COMMANDS[command]]
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        command_line.run(command.main, copy.deepcopy(command.FLAGS), usage="", argv=["command", *arguments])
    assert ended.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    names = "black_box, time, frequency, time_frequency, time_frequency_init, cnn, musicnn"
    assert line == f"error: {job_dir}/config.json: there is no model {model!r} in this version; train one of {names}"
