import io

import numpy as np
import pytest
import soundfile

from beam_preprocess.audio import Reject
from trainer.serving.web.preview import as_wav
from trainer.serving.web.refusal import Refusal


def encoded(seconds, rate, kind):
    time = np.arange(round(seconds * rate)) / rate
    stereo = np.stack([np.sin(2 * np.pi * 440 * time), np.zeros_like(time)], axis=1) * 0.8
    file = io.BytesIO()
    soundfile.write(file, stereo, rate, format=kind)
    file.seek(0)
    return file


@pytest.mark.parametrize("kind", ["AU", "AIFF"])
def test_any_format_becomes_mono_wav(kind):
    with as_wav(encoded(1, 44100, kind), max_duration_s=10) as wav:
        samples, rate = soundfile.read(wav)
        wav.seek(0)
        assert wav.read(4) == b"RIFF"
    assert rate == 22050 and samples.shape == (22050,)
    middle = samples[1000:-1000]
    assert np.abs(middle).max() == pytest.approx(0.4, abs=0.01)
    assert np.abs(np.fft.rfft(samples)).argmax() == 440


def test_what_cannot_be_used_is_rejected():
    with pytest.raises(Reject, match="too_long"), as_wav(encoded(2, 22050, "AU"), max_duration_s=1):
        pass
    with pytest.raises(Reject, match="undecodable"), as_wav(io.BytesIO(b"text"), max_duration_s=1):
        pass


def test_a_temporary_directory_that_takes_nothing_is_told(no_temporary_files, tmp_path, capfd):
    (tmp_path / "a.au").write_bytes(encoded(1, 22050, "AU").read())
    told = pytest.raises(Refusal, match=f"no_room.*{no_temporary_files}")
    with (tmp_path / "a.au").open("rb") as file, told, as_wav(file, max_duration_s=10):
        pass
    assert capfd.readouterr() == ("", "")
