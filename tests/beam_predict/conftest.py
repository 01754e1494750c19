import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from beam_predict import job
from beam_predict.config import PredictConfig

# Fixtures of the packages below.
from tests.beam_preprocess.conftest import clips, contents, make_clips, memory, read_rejects  # noqa: F401
from tests.trainer.conftest import exported, parse_page_fixture, trained  # noqa: F401

ONE_WORKER = ("--direct_num_workers=1",)


@pytest.fixture(scope="session")
def collection(tmp_path_factory, make_clips):  # noqa: F811
    """Twelve clips in folders, a silent one and one of speech's rate, and three that cannot be used. Read only."""
    root = tmp_path_factory.mktemp("collection") / "music"
    make_clips(root)
    soundfile.write(root / "silent.wav", np.zeros(3 * 22050), 22050)
    noise = np.random.default_rng(1).normal(0, 0.1, (4 * 44100, 2))
    soundfile.write(root / "stereo é.flac", noise, 44100)
    (root / "empty.wav").write_bytes(b"")
    (root / "text.mp3").write_text("no audio")
    soundfile.write(root / "short.wav", noise[:100, 0], 22050)
    return root


@pytest.fixture(scope="session")
def predict():
    """Names a collection, in four shards with one worker unless told otherwise; returns what predictions.json holds."""

    def run(source, output, model_dir, *, beam_args=ONE_WORKER, overwrite=False, **changes):
        fields = {"source": str(source), "output": str(output), "model_dir": str(model_dir), "num_shards": 4}
        return job.run(PredictConfig(**fields | changes), beam_args=beam_args, overwrite=overwrite)

    return run


@pytest.fixture(scope="session")
def named(collection, trained, predict, tmp_path_factory):  # noqa: F811
    """The predictions of the collection by a trained job, with embeddings. Read only."""
    output = tmp_path_factory.mktemp("named") / "out"
    predict(collection, output, trained, embedding=True)
    return output


@pytest.fixture(scope="session")
def read_rows():
    """The rows of all shards, in order, each a dict."""

    def read(output):
        return [row for path in sorted(output.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]

    return read
