import importlib.util
import io
import sys
import types

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from tests.trainer.serving.test_similarity import embeddings_of
from tfrecords.common.command_line import UserError
from trainer.serving import map_plot
from trainer.serving.similarity import Collection

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(60, 5)) * [5, 3, 1, 1, 1]


def colours(png):
    return len(set(Image.open(io.BytesIO(png)).convert("RGB").resize((400, 300)).tobytes()[::3]))


def test_pca_is_that_of_scikit_learn_but_for_signs():
    points, others = map_plot.by_pca(VECTORS[:50].astype(np.float32), VECTORS[50:].astype(np.float32))
    theirs = PCA(2).fit(VECTORS[:50])
    for own, expected in ((points, theirs.transform(VECTORS[:50])), (others, theirs.transform(VECTORS[50:]))):
        np.testing.assert_allclose(
            own * np.sign(points[0]) * np.sign(theirs.transform(VECTORS[:1])), expected, atol=1e-3
        )


@pytest.mark.parametrize(
    "labels", [None, ["rock", None] * 30, [f"label $\\{number}$" for number in range(60)]], ids=["none", "some", "many"]
)
def test_a_map_of_labels_and_queries(labels, monkeypatch):
    monkeypatch.setattr(map_plot, "MAX_POINTS", 50)
    collection = Collection(embeddings_of(VECTORS, labels))
    queries = {f"music/{number}\udcff.mp3": VECTORS[number].astype(np.float32) for number in range(2)}
    drawn = map_plot.map_png(collection, queries, title="all $x.parquet")
    assert drawn.startswith(b"\x89PNG") and drawn != map_plot.map_png(collection, {}, title="all $x.parquet")
    assert colours(drawn) > 10


def test_one_track_is_drawn_too():
    collection = Collection(embeddings_of(VECTORS[:1]))
    assert map_plot.map_png(collection, {}, title="one", projection="umap").startswith(b"\x89PNG")


def test_umap_is_taken_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert map_plot.choose_projection(None) == "pca"
    with pytest.raises(UserError, match="pip install umap-learn"):
        map_plot.choose_projection("umap")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert (map_plot.choose_projection(None), map_plot.choose_projection("pca")) == ("umap", "pca")

    class Reducer:
        def __init__(self, **options):
            assert options["metric"] == "cosine"

        def fit_transform(self, vectors):
            return vectors[:, :2]

        transform = fit_transform

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Reducer))
    collection = Collection(embeddings_of(VECTORS))
    queries = {"a": VECTORS[0].astype(np.float32)}
    assert map_plot.map_png(collection, queries, title="all", projection="umap").startswith(b"\x89PNG")
