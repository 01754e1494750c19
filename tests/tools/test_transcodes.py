import numpy as np
import pytest
import soundfile

from beam_preprocess import audio
from tools import transcodes


def blocks_of(path):
    found = []
    with path.open("rb") as file:
        limits = {"sample_rate": 22050, "min_samples": 1, "max_duration_s": 60.0}
        for _ in audio.stream(file, **limits, observe=lambda block, mean: found.append(block)):
            pass
    return found


def test_transcodes_hold_the_same_sound(tmp_path):
    noise = 0.3 * np.random.default_rng(0).normal(size=44100 * 4)
    soundfile.write(tmp_path / "source.wav", noise, 44100)
    out = tmp_path / "out"
    files = transcodes.write_transcodes(tmp_path / "source.wav", out, seconds=2, rates_hz=(8000, 44100), number=7)
    # There is no Opus at 44.1 kHz.
    assert len(files) == 6 * 2 * 2 + 2
    for path in files:
        _, rate, channels = path.stem.split("-")
        blocks = blocks_of(path)
        # Opus is decoded at 48 kHz, whatever it was.
        assert blocks[0].rate == (48000 if path.suffix == ".opus" else int(rate))
        assert len(blocks[0].channels) == int(channels)
        # Lossy formats add a little at the ends.
        assert sum(block.samples for block in blocks) / blocks[0].rate == pytest.approx(2, abs=0.2)
        if channels == "2":
            levels = [
                np.concatenate(channel).std() for channel in zip(*(block.channels for block in blocks), strict=True)
            ]
            assert levels[1] / levels[0] == pytest.approx(0.5, abs=0.05)
