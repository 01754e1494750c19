import json

import numpy as np
import pytest
import soundfile

from beam_preprocess.config import JobConfig, SplitConfig
from beam_preprocess.inputs.tracks import Track
from tests.beam_preprocess.memory_store import MemoryStore

LABELS = ("blues", "jazz", "rock")


@pytest.fixture(scope="session")
def make_clips():
    """Writes labelled clips of 2 to 3 s as 16-bit .wav: a tone per label in noise, another level in each clip."""

    def make(root, *, labels=LABELS, per_label=4, sample_rate=22050):
        rng = np.random.default_rng(7)
        paths = []
        for position, label in enumerate(labels):
            (root / label).mkdir(parents=True, exist_ok=True)
            for index in range(per_label):
                samples = int(rng.integers(2 * sample_rate, 3 * sample_rate))
                tone = np.sin(2 * np.pi * 220 * (position + 1) * np.arange(samples) / sample_rate)
                clip = (0.3 * tone + 0.05 * rng.normal(size=samples)) / (index + 1)
                paths.append(root / label / f"{label}.{index:05d}.wav")
                soundfile.write(paths[-1], clip, sample_rate)
        return paths

    return make


@pytest.fixture(scope="session")
def clips(tmp_path_factory, make_clips):
    """A folder of twelve clips, three labels. Read only."""
    root = tmp_path_factory.mktemp("clips") / "music"
    make_clips(root)
    return root


@pytest.fixture(scope="session")
def job_config():
    """A job of two folds, four shards; keywords change it."""

    def make(source, output, **changes):
        fields = {"name": "music", "split": SplitConfig(folds=2), "num_shards": 4} | changes
        return JobConfig(source=str(source), output=str(output), **fields)

    return make


@pytest.fixture(scope="session")
def make_tracks():
    """Tracks from (track_id, label[, group]) tuples, for what needs no audio."""

    def make(rows):
        return [
            Track(track_id, f"/in/{track_id}", label, group[0] if group else track_id, 1000)
            for track_id, label, *group in rows
        ]

    return make


@pytest.fixture(scope="session")
def contents():
    """name -> bytes of all that a job wrote, without metrics.json, which tells of the run."""

    def read(output):
        files = [path for path in output.rglob("*") if path.is_file() and path.name != "metrics.json"]
        return {str(path.relative_to(output)): path.read_bytes() for path in files}

    return read


@pytest.fixture(scope="session")
def read_rejects():
    """The lines of rejects.jsonl."""

    def read(output):
        return [json.loads(line) for line in (output / "rejects.jsonl").read_text("utf-8").splitlines()]

    return read


@pytest.fixture
def memory(monkeypatch):
    """The stores of memory://, empty."""
    return MemoryStore(monkeypatch)
