"""A picture of a collection in two dimensions, in which tracks that sound alike are near each other."""

import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import shorten
from tfrecords.plots import LIGHT, Style, new_figure, png, style_axes
from trainer.serving.similarity import Collection

PCA, UMAP = "pca", "umap"
# More points would only lie on each other.
MAX_POINTS = 20_000
_COLOURS = 10
_UMAP_NEIGHBOURS = 15
# Queries that are named beside their marks; more names would cover the map.
_NAMED = 12
_OTHERS = "others"


def choose_projection(name: str | None) -> str:
    """Return the projection of this name; by default UMAP where it is installed, else PCA.

    Raises:
      UserError: UMAP is not installed.
    """
    installed = importlib.util.find_spec("umap") is not None
    if name == UMAP and not installed:
        raise UserError("`projection=umap` needs the package umap-learn; install it: pip install umap-learn")
    return name or (UMAP if installed else PCA)


def map_png(
    collection: Collection,
    queries: Mapping[str, np.ndarray],
    *,
    title: str,
    projection: str = PCA,
    style: Style = LIGHT,
) -> bytes:
    """Draw the tracks of a collection as points, coloured by their labels, and queries as stars.

    Args:
      collection: at most MAX_POINTS of its tracks are drawn, evenly spread over its order.
      queries: path -> embedding, [units] float32.
      title: of the picture.
      projection: "pca" or "umap"; of a few tracks PCA.
      style: colours of paper and ink.

    Returns:
      The bytes of a PNG file.
    """
    tracks = np.unique(np.linspace(0, len(collection) - 1, min(len(collection), MAX_POINTS)).astype(np.int64))
    vectors = np.array([collection.standardize(vector[np.newaxis])[0] for vector in queries.values()], np.float32)
    vectors = vectors.reshape(len(queries), collection.vectors.shape[1])
    if len(tracks) <= _UMAP_NEIGHBOURS:
        projection = PCA
    project = {PCA: by_pca, UMAP: by_umap}[projection]
    points, marks = project(collection.vectors[tracks], vectors)
    figure = new_figure((9.0, 7.0), style, layout=ConstrainedLayoutEngine())
    axes = figure.subplots()
    _draw_labels(axes, points, [collection.label(int(track)) for track in tracks], style)
    _draw_queries(axes, marks, [PurePath(path).name for path in queries], style)
    style_axes(axes, style)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(
        f"{shorten(title, 70)}   {len(tracks):,} of {len(collection):,} tracks, {projection.upper()}",
        fontsize=10.5,
        loc="left",
        color=style.ink,
        parse_math=False,
    )
    return png(figure)


def by_pca(vectors: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return [tracks, 2] and [others, 2]: coordinates along the two directions in which the vectors spread most.

    Example:
      >>> points, _ = by_pca(np.array([[0, 0, 1], [0, 3, 1], [0, 6, 1]], np.float32), np.zeros((0, 3), np.float32))
      >>> np.abs(np.round(points[:, 0], 3)).tolist()
      [3.0, 0.0, 3.0]
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    directions = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    # Either sign is as good: fixed, so that a map does not depend on the library.
    directions = directions * np.where(directions[np.abs(directions).argmax(axis=0), [0, 1]] < 0, -1, 1)
    return centred @ directions, (others - mean) @ directions


def by_umap(vectors: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates as `by_pca` does, by UMAP (McInnes, Healy and Melville 2018), which keeps neighbours near."""
    import umap

    reducer = umap.UMAP(n_neighbors=_UMAP_NEIGHBOURS, metric="cosine", random_state=0, n_jobs=1)
    points = reducer.fit_transform(vectors)
    return points, reducer.transform(others) if len(others) else np.zeros((0, 2), np.float32)


def _draw_labels(axes: Axes, points: np.ndarray, labels: Sequence[str | None], style: Style) -> None:
    """Draw the points, the commonest labels each in a colour and named in a legend."""
    common = [label for label, _ in Counter(filter(None, labels)).most_common(_COLOURS)]
    if len(set(labels) - {None}) > _COLOURS:
        common = common[:-1]
    names = np.array([label if label in common else "" for label in labels])
    size = float(np.clip(4000 / len(points), 3, 30))
    colours = matplotlib.colormaps["tab10"]
    for label in ("", *common):
        own = points[names == label]
        if not len(own):
            continue
        colour = colours(common.index(label)) if label else style.faint
        name = shorten(label, 30) if label else (_OTHERS if common else None)
        axes.scatter(own[:, 0], own[:, 1], s=size, color=[colour], linewidths=0, alpha=0.75, label=name)
    if common:
        legend = axes.legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9, frameon=False, labelcolor=style.ink
        )
        for text in legend.get_texts():
            text.set_parse_math(False)


def _draw_queries(axes: Axes, marks: np.ndarray, names: Sequence[str], style: Style) -> None:
    axes.scatter(marks[:, 0], marks[:, 1], s=160, marker="*", color=style.ink, edgecolors=style.paper, linewidths=0.8)
    for mark, name in list(zip(marks, names, strict=True))[:_NAMED]:
        axes.annotate(
            shorten(name, 40),
            mark,
            xytext=(7, 4),
            textcoords="offset points",
            fontsize=8.5,
            color=style.ink,
            parse_math=False,
        )
