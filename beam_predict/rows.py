"""The rows of the output: what is known of a track, and the columns of the Parquet files."""

import dataclasses
import io
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_predict.model import ModelFacts
from beam_preprocess.audio import Reject
from trainer.evaluation.confidence import Answer


@dataclasses.dataclass
class TrackPrediction:
    """What is found out about a track: a row of the output.

    Attributes:
      track_id: of the track.
      reject: why it cannot be named; None if it can.
      duration_s: length in seconds.
      note: "silent", "channels cancel" or None.
      outputs: sums over its patches of probabilities and, where they are needed, of units, float64.
      patches: how many there are.
      answer: what the probabilities are worth, where the model tells.
    """

    track_id: str
    reject: Reject | None = None
    duration_s: float | None = None
    note: str | None = None
    outputs: list[np.ndarray] = dataclasses.field(default_factory=list)
    patches: int = 0
    answer: Answer | None = None

    def add(self, outputs: list[np.ndarray]) -> None:
        """Add the network's outputs for some of the patches, [patches, ...] each."""
        sums = [values.sum(axis=0, dtype=np.float64) for values in outputs]
        self.outputs = [total + more for total, more in zip(self.outputs, sums, strict=True)] if self.outputs else sums
        self.patches += len(outputs[0])

    @property
    def means(self) -> list[np.ndarray]:
        """Probabilities [labels] and, where they are needed, units [units], float32; nothing without patches."""
        return [(total / self.patches).astype(np.float32) for total in self.outputs]


def name_track(row: TrackPrediction, facts: ModelFacts) -> tuple[str, float] | None:
    """Return the most probable genre of a track and its probability; None where there is none."""
    if row.reject or not row.patches:
        return None
    chances = dict(zip(facts.labels, row.means[0].tolist(), strict=True))
    label = max(facts.genres or facts.labels, key=chances.__getitem__)
    return label, chances[label]


def as_parquet(rows: list[TrackPrediction], facts: ModelFacts, *, embedding: bool) -> bytes:
    """Return the Parquet file of some tracks, one row each in the order given.

    The same rows give the same bytes: it says neither when nor where it was written.
    """
    fields, columns = zip(*columns_of(rows, facts, embedding=embedding), strict=True)
    schema = pa.schema(fields, {"labels": json.dumps(facts.labels), "model": facts.fingerprint})
    file = io.BytesIO()
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        writer.write_table(pa.table(list(columns), schema=schema))
    return file.getvalue()


def columns_of(rows: list[TrackPrediction], facts: ModelFacts, *, embedding: bool) -> Iterator[tuple[pa.Field, list]]:
    """Yield the columns of the output and their values, in order; what cannot be known is null."""
    named = [name_track(row, facts) for row in rows]
    means = [row.means if name else None for row, name in zip(rows, named, strict=True)]
    yield pa.field("track", pa.string(), nullable=False), [readable(row.track_id) for row in rows]
    yield pa.field("label", pa.string()), [readable(name[0]) if name else None for name in named]
    yield pa.field("probability", pa.float32()), [name[1] if name else None for name in named]
    for index, label in enumerate(facts.labels):
        values = [own[0][index] if own else None for own in means]
        yield pa.field(f"p_{readable(label)}", pa.float32()), values
    # Of tags, which do not exclude each other, there is no entropy.
    entropies = [entropy_bits(own[0]) if own and facts.genres is None else None for own in means]
    yield pa.field("entropy", pa.float32()), entropies
    labels = [readable(label) for label in facts.labels]
    answers = [row.answer if name else None for row, name in zip(rows, named, strict=True)]
    yield pa.field("confidence", pa.float32()), [float(own.probabilities.max()) if own else None for own in answers]
    yield pa.field("set", pa.list_(pa.string())), [list(own.label_set(labels)) if own else None for own in answers]
    yield pa.field("sure", pa.bool_()), [bool(own.sure) if own else None for own in answers]
    yield pa.field("familiar", pa.bool_()), [bool(own.familiar) if own else None for own in answers]
    yield pa.field("duration_s", pa.float64()), [_rounded(row.duration_s) for row in rows]
    yield pa.field("note", pa.string()), [row.note for row in rows]
    yield pa.field("reject_reason", pa.string()), [row.reject.reason if row.reject else None for row in rows]
    details = [readable(row.reject.detail) if row.reject else None for row in rows]
    yield pa.field("reject_detail", pa.string()), details
    if embedding:
        yield pa.field("embedding", pa.list_(pa.float32())), [own[1] if own else None for own in means]


def entropy_bits(probabilities: np.ndarray) -> float:
    """Return the entropy of probabilities that add up to 1, in bits: 0 where one label is certain.

    Example:
      >>> entropy_bits(np.array([0.5, 0.5]))
      1.0
    """
    positive = probabilities[probabilities > 0].astype(np.float64)
    return max(0.0, float(-(positive * np.log2(positive)).sum()))


def readable(text: str) -> str:
    r"""Return a text as UTF-8 can hold it: of file names that are not Unicode, other bytes are escaped.

    Example:
      >>> readable("caf\udce9.wav")
      'caf\\xe9.wav'
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
