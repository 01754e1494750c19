import numpy as np
import pytest
import soundfile

from trainer.serving.recognizer import Recognizer


@pytest.fixture(scope="session")
def recognizer(trained):
    return Recognizer.load(trained)


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory):
    """Directory of the exported model of `trained`; not to be changed by a test."""
    from trainer.serving.export_dir import export

    export_dir = tmp_path_factory.mktemp("exported") / "model"
    export(trained, export_dir)
    return export_dir


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
