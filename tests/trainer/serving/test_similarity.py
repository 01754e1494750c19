import numpy as np
import pyarrow as pa
import pytest

from tfrecords.common.command_line import UserError
from trainer.serving import similarity
from trainer.serving.embeddings import Embeddings, Origin
from trainer.serving.similarity import Collection, search


def embeddings_of(vectors, labels=None):
    names = pa.chunked_array([[f"{number}.wav" for number in range(len(vectors))]], pa.string())
    labels = pa.chunked_array([labels or [None] * len(vectors)], pa.string())
    return Embeddings(Origin("time", "", {}, 80), names, labels, np.array(vectors, np.float32))


@pytest.mark.parametrize("block", [7, 1000])
@pytest.mark.parametrize("count", [1, 5, 60])
def test_a_search_in_blocks_is_a_sort_of_all(monkeypatch, block, count):
    monkeypatch.setattr(similarity, "_BLOCK", block)
    rng = np.random.default_rng(0)
    # Of few values, so that many rows are equally near.
    vectors = rng.integers(-2, 3, (50, 3)).astype(np.float32)
    query = rng.integers(-2, 3, 3).astype(np.float32)
    rows, products = search(vectors, query, count)
    expected = np.argsort(-(vectors @ query), kind="stable")[:count]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(products, (vectors @ query)[expected])


@pytest.mark.parametrize("block", [7, 1000])
def test_it_is_the_cosine_of_standardised_embeddings(monkeypatch, block):
    monkeypatch.setattr(similarity, "_BLOCK", block)
    rng = np.random.default_rng(1)
    # One unit is large everywhere, one varies more than the others, and one never.
    vectors = rng.normal([1000, 0, 1, 5], [1, 100, 1, 0], (40, 4)).astype(np.float32)
    query = rng.normal([1000, 0, 1, 5], [1, 100, 1, 0.1]).astype(np.float32)
    kept = vectors.astype(np.float64)[:, :3]
    standard, own = ((rows - kept.mean(axis=0)) / kept.std(axis=0) for rows in (kept, query[:3]))
    cosines = standard @ own / np.linalg.norm(standard, axis=1) / np.linalg.norm(own)
    found = Collection(embeddings_of(vectors)).nearest(query, 3)
    expected = np.argsort(-cosines)[:3]
    assert [one.path for one in found] == [f"{row}.wav" for row in expected]
    np.testing.assert_allclose([one.similarity for one in found], cosines[expected], atol=1e-3)


def test_the_query_itself_can_be_left_out():
    vectors = np.random.default_rng(2).normal(size=(6, 4))
    collection = Collection(embeddings_of(vectors, ["a", "b", None, "a", "b", "c"]))
    query = vectors[2].astype(np.float32)
    (first, *_) = with_it = collection.nearest(query, 6)
    assert (first.path, first.label) == ("2.wav", None) and first.similarity == pytest.approx(1)
    without = collection.nearest(query, 6, without="2.wav")
    assert without == with_it[1:]
    assert collection.nearest(query, 2, without="2.wav") == with_it[1:3]


def test_collections_of_none_and_of_one_track():
    with pytest.raises(UserError, match="got none"):
        Collection(embeddings_of(np.zeros((0, 3))))
    (found,) = Collection(embeddings_of([[1, 2, 3]])).nearest(np.array([1, 2, 4], np.float32), 5)
    assert found.path == "0.wav" and np.isfinite(found.similarity)
