import dataclasses

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics
from trainer.serving import embeddings
from trainer.serving.embeddings import Embeddings, Origin
from trainer.serving.recognizer import Recognition, Recognizer

ORIGIN = Origin("time", "ab" * 32, {"n_mels": 40, "window": "é"}, 80, "/jobs/one")


def recognition(seed, patches=2, units=3):
    values = np.random.default_rng(seed).normal(size=(patches, units)).astype(np.float32)
    starts_s = np.arange(patches) * 1.5
    return Recognition(("a",), np.ones(1), np.ones((patches, 1)), starts_s, 1.5, 3.0, np.zeros((9, 4)), units=values)


@pytest.fixture(params=[4096, 2], ids=["one group of rows", "several"])
def written(request, tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "_ROWS", request.param)
    path = tmp_path / "all.parquet"
    with embeddings.write(str(path), ORIGIN, num_units=3, with_patches=True) as writer:
        for number in range(5):
            label = f"label {number}" if number else ""
            writer.add(f"music/{number}\udcff.wav", recognition(number, patches=number + 1), label=label)
    return path


def test_what_was_written_is_read(written):
    read = Embeddings.read(str(written))
    assert read.origin == ORIGIN
    assert read.paths.to_pylist() == [f"music/{number}\\udcff.wav" for number in range(5)]
    assert read.labels.to_pylist() == [None, *(f"label {number}" for number in range(1, 5))]
    expected = [recognition(number, patches=number + 1).units.mean(axis=0) for number in range(5)]
    np.testing.assert_allclose(read.vectors, expected, atol=1e-6)
    patches = pq.read_table(written)["patch_embeddings"].to_pylist()
    np.testing.assert_array_equal(patches[3], recognition(3, patches=4).units)


def test_the_file_appears_when_all_is_done(tmp_path):
    path = tmp_path / "all.parquet"
    with pytest.raises(KeyError), embeddings.write(str(path), ORIGIN, num_units=3) as writer:
        writer.add("a", recognition(0))
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused_in_one_line(written, tmp_path):
    text, cut, other, nothing, vector = (tmp_path / name for name in ("text", "cut", "other", "nothing", "vector"))
    text.write_text("no Parquet at all")
    cut.write_bytes(written.read_bytes()[:-100])
    pq.write_table(pa.table({"path": ["a"]}), other)
    table = pq.read_table(written)
    bad = [[1.0, 2.0, np.nan]] * 5
    pq.write_table(
        table.set_column(4, "embedding", pa.array(bad, pa.list_(pa.float32(), 3))).cast(table.schema), nothing
    )
    pq.write_table(
        table.set_column(4, "embedding", pa.array([[1.0]] * 5)).replace_schema_metadata(table.schema.metadata), vector
    )
    for path in (text, cut, other, nothing, vector):
        with pytest.raises(UserError, match=r"not a file of embeddings \([^\n]+\); make it with trainer.embed"):
            Embeddings.read(str(path))
    with pytest.raises(UserError, match="cannot be read: No such file"):
        Embeddings.read(str(tmp_path / "missing"))


def other_weights(recognizer):
    model = keras.models.clone_model(recognizer.model)
    model.set_weights([values + np.float32(1e-6) for values in recognizer.model.get_weights()])
    return Recognizer(recognizer.job, model)


def other_statistics(recognizer):
    statistics = recognizer.job.statistics
    moved = BandStatistics(statistics.count, statistics.mean + 1e-6, statistics.m2)
    return Recognizer(dataclasses.replace(recognizer.job, statistics=moved), recognizer.model)


def other_front_end(recognizer):
    front_end = dict(recognizer.job.front_end) | {"fmin_hz": 1.0}
    return Recognizer(dataclasses.replace(recognizer.job, front_end=front_end), recognizer.model)


def test_the_fingerprint_is_of_all_that_an_embedding_depends_on(recognizer):
    own = embeddings.fingerprint(recognizer)
    others = [change(recognizer) for change in (other_weights, other_statistics, other_front_end)]
    assert len({own, *map(embeddings.fingerprint, others)}) == 4
    # Not of where the data lie, nor of the labels' names.
    elsewhere = dataclasses.replace(recognizer.job, data_dir="/elsewhere", labels=("x", "y", "z"))
    assert embeddings.fingerprint(Recognizer(elsewhere, recognizer.model)) == own


def test_those_of_another_model_are_refused(recognizer):
    origin = Origin.of(recognizer, "/jobs/one")
    embeddings.check_origin("all.parquet", origin, recognizer)
    with pytest.raises(UserError, match=r"all.parquet: was made by another model \(time, fingerprint \w{12}\)"):
        embeddings.check_origin("all.parquet", origin, other_weights(recognizer))
