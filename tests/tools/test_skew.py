import math

import pytest

from beam_preprocess.log_mel import FrontEndConfig
from tfrecords.command_line import UserError
from tools import skew
from tools.skew import EXPORTED, FLOAT16, LIMITS, WAV_BYTES, Skew

LOG10 = LIMITS["log10"]


def values_of(*arguments):
    values = skew.FLAGS
    for name in values:
        values[name].unparse()
    values(["skew", *arguments])
    return values


def test_the_largest_counts_and_what_is_past_its_limit_is_named():
    skews = [
        Skew("wav", EXPORTED, 1e-5, 2e-5),
        Skew("wav", EXPORTED, 2e-3, 1e-5),
        Skew("wav", WAV_BYTES, math.nan, 3e-5),
        Skew("mp3", FLOAT16, 0.001, math.nan),
    ]
    assert skew.exceeded(skews, LOG10) == [
        "wav, exported: log-mel differs by 0.002, at most 0.001 is allowed",
        "mp3, float16 shards: probability differs by nan, at most 0.002 is allowed",
    ]
    lines = skew.table(skews, LOG10).splitlines()
    assert "| wav | 2.0e-03 / 2.0e-05 | - / 3.0e-05 |  |  |" in lines
    assert not skew.exceeded(skews[:1], LOG10)


@pytest.mark.parametrize(
    ("skews", "sure", "status"),
    [
        ([Skew("wav", EXPORTED, 1e-5, 2e-5)], 0.7, 0),
        ([Skew("wav", EXPORTED, 1e-5, 2e-5)], 0.6, 1),
        ([Skew("wav", EXPORTED, 1e-5, 2e-4)], 0.7, 1),
    ],
)
def test_a_difference_or_a_model_that_is_sure_of_nothing_fails(skews, sure, status, tmp_path, monkeypatch):
    monkeypatch.setattr(skew.TrainingJob, "load", lambda job_dir: None)
    monkeypatch.setattr(skew, "front_end_config", lambda job: FrontEndConfig())
    monkeypatch.setattr(skew, "transcode", lambda audio_dir, folder, *, files, seconds: [])
    monkeypatch.setattr(skew, "measure", lambda job_dir, output, files: (skews, sure))
    assert skew.main(values_of("--job_dir=job", "--audio=audio", f"--output={tmp_path / 'new'}"), []) == status


def test_mistakes(tmp_path, monkeypatch):
    monkeypatch.setattr(skew.TrainingJob, "load", lambda job_dir: None)
    monkeypatch.setattr(skew, "front_end_config", lambda job: FrontEndConfig())
    with pytest.raises(UserError, match="--audio is missing"):
        skew.main(values_of("--job_dir=job"), [])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="must be an empty directory"):
        skew.main(values_of("--job_dir=job", "--audio=audio", f"--output={tmp_path}"), [])
    with pytest.raises(UserError, match="no audio in this folder"):
        skew.transcode(tmp_path, tmp_path / "out", files=1, seconds=1)
