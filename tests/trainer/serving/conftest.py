import numpy as np
import pytest
import soundfile


def noise(seconds, *, rate=22050, seed=0):
    """[samples] float32: noise that swells and fades, so that no two patches are alike."""
    time_s = np.arange(round(seconds * rate)) / rate
    loudness = 0.05 + 0.05 * np.sin(2 * np.pi * time_s / 3.7)
    return (np.random.default_rng(seed).normal(size=len(time_s)) * loudness).astype(np.float32)


@pytest.fixture(scope="session", name="noise")
def noise_fixture():
    return noise


@pytest.fixture(scope="session")
def songs(tmp_path_factory):
    """Four audio files of 2, 3, 4 and 6 s, by name."""
    folder = tmp_path_factory.mktemp("songs")
    for seed, (name, seconds, rate) in enumerate(
        [("a.wav", 2, 22050), ("b.flac", 3, 44100), ("c.ogg", 4, 16000), ("d.au", 6, 22050)]
    ):
        soundfile.write(folder / name, noise(seconds, rate=rate, seed=seed), rate)
    return folder
