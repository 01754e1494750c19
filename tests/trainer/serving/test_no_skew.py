import shutil

import soundfile

from tools import skew
from tools.skew import EXPORTED, FLOAT16, FLOAT32, LIMITS, ONNX_PATH, WAV_BYTES, write_transcodes
from trainer.serving import export_dir

LIMITS_OF_LOG10 = LIMITS["log10"]


def test_a_file_gets_the_same_answer_by_every_path(trained, exported, noise, tmp_path, monkeypatch):
    export = export_dir.export

    def copy(job_dir, directory, **options):
        # Of the SavedModel there is one already.
        return export(job_dir, directory, **options) if options else shutil.copytree(exported, directory)

    monkeypatch.setattr(export_dir, "export", copy)
    soundfile.write(tmp_path / "source.wav", noise(4, rate=44100), 44100)
    # One rate that is resampled, and the model's, which Opus does not have.
    files = write_transcodes(tmp_path / "source.wav", tmp_path / "audio", seconds=4, rates_hz=(22050, 48000))
    skews, sure = skew.measure(trained, tmp_path, files)
    assert not skew.exceeded(skews, LIMITS_OF_LOG10)
    assert 1 / 3 < sure <= 1
    counts = {path: sum(one.path == path for one in skews) for path in LIMITS_OF_LOG10}
    assert counts == {EXPORTED: 26, WAV_BYTES: 2, ONNX_PATH: 26, FLOAT32: 26, FLOAT16: 26}
    # The paths are compared, and not one with itself: float16 rounds.
    assert all(one.log_mel > 0 for one in skews if one.path == FLOAT16)
