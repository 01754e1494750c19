import numpy as np
import pytest
import soundfile

from tools import transcodes


def test_transcodes_hold_the_same_sound(tmp_path):
    noise = 0.3 * np.random.default_rng(0).normal(size=44100 * 4)
    soundfile.write(tmp_path / "source.wav", noise, 44100)
    out = tmp_path / "out"
    files = transcodes.write_transcodes(tmp_path / "source.wav", out, seconds=2, rates_hz=(8000, 44100), number=7)
    assert len(files) == 5 * 2 * 2
    for path in files:
        info = soundfile.info(path)
        _, rate, channels = path.stem.split("-")
        assert (info.samplerate, info.channels) == (int(rate), int(channels))
        # Lossy formats add a little at the ends.
        assert info.duration == pytest.approx(2, abs=0.2)
        samples = soundfile.read(path, always_2d=True)[0]
        if channels == "2":
            levels = samples.std(axis=0)
            assert levels[1] / levels[0] == pytest.approx(0.5, abs=0.05)
