import numpy as np
import pytest
import soundfile

from beam_preprocess.synthesize import synthesize_track

RATE_HZ = 22050


@pytest.fixture(scope="session")
def music():
    """genre, index -> [samples] float32 of 12 s at 22050 Hz."""

    def make(genre, index=0, seconds=12.0):
        return synthesize_track(genre, seed=5, seconds=seconds, index=index)

    return make


def write(path, samples, rate=RATE_HZ, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **how)


@pytest.fixture(scope="session")
def set_with_faults(tmp_path_factory, music):
    """A CSV of 14 tracks, two labels, and what is wrong with some of them. Read only."""
    root = tmp_path_factory.mktemp("audit") / "music"
    rock = [music("rock", index) for index in range(3)]
    blues = [music("blues", index) for index in range(3)]
    for index in range(3):
        write(root / f"rock/{index}.wav", rock[index])
        write(root / f"blues/{index}.wav", blues[index])
    write(root / "rock/same.flac", soundfile.read(root / "rock/0.wav")[0])
    write(root / "blues/copy.mp3", 0.5 * blues[1][3 * RATE_HZ :], format="MP3")
    write(root / "blues/mono.wav", np.stack([music("jazz")] * 2, axis=1))
    write(root / "rock/loud.wav", np.clip(4 * music("metal"), -1, 1))
    write(root / "rock/long.wav", music("disco", seconds=40))
    write(root / "blues/half.wav", np.concatenate([music("country", seconds=6), np.zeros(6 * RATE_HZ)]))
    write(root / "blues/zeros.wav", np.zeros(12 * RATE_HZ))
    (root / "rock/text.mp3").write_text("no audio\n")
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.*"))
    rows = [f"{name},{name.partition('/')[0]},{artist_of(name)}" for name in names]
    (root / "tracks.csv").write_text("path,genre,artist\n" + "\n".join(rows) + "\n", "utf-8")
    return root / "tracks.csv"


def artist_of(name):
    """Copies are by the artists of their originals; all others by their own."""
    return {"rock/same.flac": "rock/0.wav", "blues/copy.mp3": "blues/1.wav"}.get(name, name)
