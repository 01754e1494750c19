import pytest

from beam_preprocess.audio.front_end import FrontEndConfig
from tools import skew
from tools.skew import EXPORTED, FLOAT16, Skew


@pytest.mark.parametrize(("probability", "sure", "status"), [(2e-5, 0.7, 0), (2e-5, 0.6, 1), (2e-4, 0.7, 1)])
def test_a_difference_or_a_model_that_is_sure_of_nothing_fails(probability, sure, status, tmp_path, monkeypatch, run):
    # tests/trainer/serving/test_served_model.py measures.
    skews = [Skew("wav", EXPORTED, 1e-5, probability), Skew("mp3", FLOAT16, 1e-3, 1e-3)]
    monkeypatch.setattr(skew.TrainingJob, "load", lambda job_dir: None)
    monkeypatch.setattr(skew, "front_end_config", lambda job: FrontEndConfig())
    monkeypatch.setattr(skew, "transcode", lambda audio_dir, folder, *, files, seconds: [])
    monkeypatch.setattr(skew, "measure", lambda job_dir, output, files: (skews, sure))
    found, printed = run(skew, "--job_dir=job", "--audio=audio", f"--output={tmp_path / 'new'}")
    assert found == status
    assert f"| wav | 1.0e-05 / {probability:.1e} |" in printed
    assert ("wav, exported: probability differs by 0.0002" in printed) == (probability > 1e-4)
