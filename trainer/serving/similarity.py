"""The tracks of a collection that are nearest to others by their embeddings: an exact search, by matrix products."""

from typing import NamedTuple

import numpy as np

from tfrecords.common.command_line import UserError
from trainer.serving.embeddings import Embeddings

# Rows of a product; what is kept of it for each query are its nearest.
_BLOCK = 65_536
# Units whose standard deviation is below this share of the largest are left out: they are constant but for rounding.
_LEAST_SPREAD = 1e-6


class Neighbour(NamedTuple):
    """A track of a collection, and how near it is.

    Attributes:
      path: of its file.
      label: its label, None where it has none.
      similarity: the cosine between its embedding and the query's, both standardised: 1 if they are the same.
    """

    path: str
    label: str | None
    similarity: float

    def to_json(self) -> dict[str, str | float | None]:
        """Return path, label and similarity, rounded."""
        return self._asdict() | {"similarity": round(self.similarity, 4)}


class Collection:
    """Embeddings that can be searched.

    Each unit is standardised by its mean and standard deviation over the collection, as some are large everywhere and
    tell nothing; then embeddings are compared by the cosine of their angle.

    Args:
      embeddings: of at least one track; their vectors are changed in place, and of no use afterwards.

    Attributes:
      vectors: [tracks, units] float32, standardised and of length 1.

    Raises:
      UserError: there are none.
    """

    def __init__(self, embeddings: Embeddings) -> None:
        self._paths, self._labels = embeddings.paths, embeddings.labels
        self.vectors = embeddings.vectors
        if not len(self.vectors):
            raise UserError("a collection needs embeddings of one track or more, got none")
        self._mean, self._scale = _standardization(self.vectors)
        for first in range(0, len(self.vectors), _BLOCK):
            block = self.vectors[first : first + _BLOCK]
            block[:] = self.standardize(block)

    def __len__(self) -> int:
        return len(self.vectors)

    def label(self, track: int) -> str | None:
        """Return the label of a track, None where it has none."""
        return self._labels[track].as_py()

    def standardize(self, vectors: np.ndarray) -> np.ndarray:
        """Return embeddings [n, units] float32 as they are compared, each of length 1."""
        standard = (vectors - self._mean) * self._scale
        norms = np.sqrt(np.einsum("ij,ij->i", standard, standard))
        standard /= np.maximum(norms, np.finfo(np.float32).tiny)[:, np.newaxis]
        return standard

    def nearest(self, embedding: np.ndarray, count: int, *, without: str | None = None) -> list[Neighbour]:
        """Return the nearest tracks, the nearest first.

        Args:
          embedding: [units] float32, of the same model.
          count: how many; fewer where the collection holds fewer.
          without: path of a track to leave out, such as the query itself.
        """
        rows, similarities = search(self.vectors, self.standardize(embedding[np.newaxis])[0], count + 1)
        found = [
            Neighbour(self._paths[int(row)].as_py(), self.label(int(row)), float(similarity))
            for row, similarity in zip(rows, similarities, strict=True)
        ]
        return [neighbour for neighbour in found if without is None or neighbour.path != without][:count]


def _standardization(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the factor of each unit, [units] float32."""
    blocks = [vectors[first : first + _BLOCK] for first in range(0, len(vectors), _BLOCK)]
    mean = sum(block.sum(axis=0, dtype=np.float64) for block in blocks) / len(vectors)
    mean = mean.astype(np.float32)
    squares = sum(np.square(block - mean).sum(axis=0, dtype=np.float64) for block in blocks)
    spread = np.sqrt(squares / len(vectors))
    factors = np.zeros_like(spread)
    np.divide(1, spread, out=factors, where=spread > _LEAST_SPREAD * spread.max(initial=0))
    return mean, factors.astype(np.float32)


def search(vectors: np.ndarray, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows with the largest products with a query, [count] int64, and these [count] float32, largest first.

    Args:
      vectors: [rows, units] float32.
      query: [units] float32.
      count: how many; fewer where there are fewer rows. Of equal rows, the earlier come first.

    Example:
      >>> search(np.eye(3, dtype=np.float32), np.array([0.1, 0.9, 0.5], np.float32), 2)[0]
      array([1, 2])
    """
    rows, products = np.zeros(0, np.int64), np.zeros(0, np.float32)
    for first in range(0, len(vectors), _BLOCK):
        block = vectors[first : first + _BLOCK] @ query
        products = np.concatenate([products, block])
        rows = np.concatenate([rows, np.arange(first, first + len(block))])
        kept = _largest(products, count)
        rows, products = rows[kept], products[kept]
    order = np.lexsort((rows, -products))
    return rows[order], products[order]


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Return where the largest values are, in no order; of equal ones the first."""
    if len(values) <= count:
        return np.arange(len(values))
    least = np.partition(values, len(values) - count)[len(values) - count]
    above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
    return np.concatenate([above, equal[: count - len(above)]])
