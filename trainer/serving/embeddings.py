"""Files of embeddings: for each track of a collection what a model makes of it, as Parquet, with what made it.

A row is a track: path, label and group (null where the input has none), duration_s, and embedding, a list of float32 of
one size, the mean of its patches'. With patches there are patch_starts_s and patch_embeddings, too, lists with an entry
for each patch. The schema's metadata hold model, fingerprint, front_end (JSON), patch_frames, and job_dir, which is
empty for the published model.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrecords import storage
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import encodable
from trainer.serving.recognizer import Recognition, Recognizer, load_recognizer

# Rows that are written, and read, at once; fewer rows where they hold so many patches.
_ROWS, _PATCHES = 4096, 65_536
_ROWS_READ = 65_536


@dataclasses.dataclass(frozen=True)
class Origin:
    """The model that made embeddings.

    Attributes:
      model: its name.
      fingerprint: SHA-256 of weights, front end, normalisation and patches, all that embeddings of audio depend on.
      front_end: its configuration, as in a dataset's manifest.
      patch_frames: frames in a patch.
      job_dir: directory or URL of the training job; empty for the published model.
    """

    model: str
    fingerprint: str
    front_end: Mapping[str, Any]
    patch_frames: int
    job_dir: str = ""

    @classmethod
    def of(cls, recognizer: Recognizer, job_dir: str = "") -> "Origin":
        """Describe a recognizer that was loaded from `job_dir`; "" is the published model."""
        if job_dir and not storage.is_remote(job_dir):
            # A search may run in another directory.
            job_dir = os.path.abspath(storage.plain(job_dir))  # noqa: PTH100 - keeps what is no valid path
        job = recognizer.job
        return cls(job.model, fingerprint(recognizer), dict(job.front_end), job.patch_frames, job_dir)

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata of a file's schema."""
        texts = {name: str(value) for name, value in vars(self).items()}
        return texts | {"front_end": json.dumps(dict(self.front_end))}

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes]) -> "Origin":
        """Return what `to_metadata` wrote; raises ValueError or KeyError if it did not."""
        texts = {field.name: metadata[field.name.encode()].decode() for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {**texts, "front_end": json.loads(texts["front_end"])}
        return cls(**values | {"patch_frames": int(texts["patch_frames"])})


def fingerprint(recognizer: Recognizer) -> str:
    """Return a text that differs where the embeddings of two models may; see `Origin`."""
    job = recognizer.job
    facts = {
        "model": job.model,
        "front_end": dict(job.front_end),
        "patch_frames": job.patch_frames,
        "patch_mode": job.evaluation_mode,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for values in (job.statistics.mean, job.statistics.scale, *recognizer.model.get_weights()):
        digest.update(f"{values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def write(location: str, origin: Origin, *, num_units: int, with_patches: bool = False) -> Iterator["Writer"]:
    """Give a writer of a file that appears, or is replaced, when the block ends without an error.

    Args:
      location: a path or a URL.
      origin: what makes the embeddings.
      num_units: size of an embedding.
      with_patches: also keep those of the patches.

    Raises:
      UserError: the file cannot be written, or no track was added.
    """
    try:
        if storage.is_directory(location):
            raise UserError(f"{location} is a directory; name a file, such as {storage.join(location, 'all.parquet')}")
        with storage.writing(location) as file:
            writer = Writer(file, origin, num_units=num_units, with_patches=with_patches)
            try:
                yield writer
                if not writer.num_tracks:
                    raise UserError(f"no track has an embedding, so {location} is not written")
                writer.close()
            finally:
                writer.discard()
    except OSError as error:
        raise UserError(f"{location} cannot be written: {error.strerror or error}") from None


class Writer:
    """Writes rows to an open file; see `write`.

    Attributes:
      num_tracks: how many were added.
    """

    def __init__(self, file: IO[bytes], origin: Origin, *, num_units: int, with_patches: bool) -> None:
        self.num_tracks = 0
        vector = pa.list_(pa.float32(), num_units)
        texts = [(name, pa.string()) for name in ("path", "label", "group")]
        fields = [*texts, ("duration_s", pa.float64()), ("embedding", vector)]
        if with_patches:
            fields += [("patch_starts_s", pa.list_(pa.float64())), ("patch_embeddings", pa.list_(vector))]
        self._schema = pa.schema(fields, metadata=origin.to_metadata())
        self._num_units, self._with_patches = num_units, with_patches
        self._rows: list[tuple[str, str, str, Recognition]] = []
        self._num_patches = 0
        # Floats do not compress, and few words are those of labels.
        self._parquet = pq.ParquetWriter(file, self._schema, compression="none", use_dictionary=["label", "group"])

    def add(self, path: str, recognition: Recognition, *, label: str = "", group: str = "") -> None:
        """Write a track, sooner or later.

        Args:
          path: of its file.
          recognition: with an embedding.
          label: its label; may be empty.
          group: its group, such as the artist; may be empty.
        """
        # The spectrogram, which is large, is of no use here.
        self._rows.append((path, label, group, dataclasses.replace(recognition, log_mel=np.zeros((0, 0), np.float32))))
        self.num_tracks += 1
        self._num_patches += len(recognition.timeline)
        if len(self._rows) >= _ROWS or self._num_patches >= _PATCHES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        self._flush()
        self._parquet.close()

    def discard(self) -> None:
        """Let go of the file, whatever it holds; nothing happens after `close`."""
        # Arrow would write to it at the end of the process, when it is closed.
        with contextlib.suppress(OSError, pa.ArrowException):
            self._parquet.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        *texts, recognitions = zip(*self._rows, strict=True)
        columns = [pa.array([encodable(text) or None for text in column], pa.string()) for column in texts]
        columns.append(pa.array([one.duration_s for one in recognitions], pa.float64()))
        columns.append(self._vectors([one.embedding for one in recognitions]))
        if self._with_patches:
            ends = np.cumsum([0, *(len(one.starts_s) for one in recognitions)], dtype=np.int32)
            starts_s = pa.array(np.concatenate([one.starts_s for one in recognitions]))
            units = self._vectors([one.units for one in recognitions])
            columns += [pa.ListArray.from_arrays(ends, values) for values in (starts_s, units)]
        self._parquet.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._rows, self._num_patches = [], 0

    def _vectors(self, vectors: list[np.ndarray]) -> pa.FixedSizeListArray:
        values = np.concatenate([vector.ravel() for vector in vectors])
        return pa.FixedSizeListArray.from_arrays(pa.array(values), self._num_units)


@dataclasses.dataclass(frozen=True, eq=False)
class Embeddings:
    """What a file of embeddings holds, the patches left out.

    Attributes:
      origin: the model that made them.
      paths: of the tracks, strings.
      labels: of the tracks, strings or null.
      vectors: [tracks, units] float32.
    """

    origin: Origin
    paths: pa.ChunkedArray
    labels: pa.ChunkedArray
    vectors: np.ndarray

    @classmethod
    def read(cls, location: str) -> "Embeddings":
        """Read a file.

        Args:
          location: a path or a URL.

        Raises:
          UserError: it cannot be read, is damaged, or holds no embeddings.
        """
        try:
            with storage.open_file(location) as file, pq.ParquetFile(file) as parquet:
                schema = parquet.schema_arrow
                origin = Origin.from_metadata(schema.metadata or {})
                vectors = _read_vectors(parquet, schema.field("embedding").type)
                texts = parquet.read(columns=["path", "label"])
                return cls(origin, texts["path"], texts["label"], vectors)
        except (pa.ArrowException, KeyError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{location}: not a file of embeddings ({reason}); make it with trainer.embed") from None
        except OSError as error:
            # Of Arrow's own, which states no reason, the text is the reason.
            raise UserError(f"{location} cannot be read: {error.strerror or error}") from None


def _read_vectors(parquet: pq.ParquetFile, kind: pa.DataType) -> np.ndarray:
    """Return [tracks, units] float32; raises ValueError if the column holds something else."""
    if not (pa.types.is_fixed_size_list(kind) and pa.types.is_float32(kind.value_type)):
        raise ValueError(f"its column embedding is {kind}")
    vectors = np.empty((parquet.metadata.num_rows, kind.list_size), np.float32)
    first = 0
    for batch in parquet.iter_batches(_ROWS_READ, columns=["embedding"]):
        values = batch.column(0).flatten().to_numpy(zero_copy_only=False).reshape(-1, kind.list_size)
        if len(values) != len(batch) or not np.isfinite(values).all():
            raise ValueError("an embedding is missing or not finite")
        vectors[first : first + len(values)] = values
        first += len(values)
    return vectors


def load_origin(location: str, origin: Origin, *, job_dir: str = "") -> Recognizer:
    """Load the model that made a file of embeddings; its recognitions hold units.

    Args:
      location: of the file.
      origin: of the file.
      job_dir: where the job is, if not where it was.

    Raises:
      UserError: it cannot be loaded, or another model lies there by now.
    """
    where = job_dir or origin.job_dir
    try:
        recognizer = load_recognizer(where, "" if where else origin.model).with_units()
    except UserError as error:
        if job_dir or not where:
            raise
        raise UserError(f"{error} (it made {location}; `job_dir` names a job that has moved)") from None
    check_origin(location, origin, recognizer)
    return recognizer


def check_origin(location: str, origin: Origin, recognizer: Recognizer) -> None:
    """Check that a file of embeddings was made by a model; those of another cannot be compared with its own.

    Raises:
      UserError: it was made by another.
    """
    found = fingerprint(recognizer)
    if found != origin.fingerprint:
        raise UserError(
            f"{location}: was made by another model ({origin.model}, fingerprint {origin.fingerprint[:12]}) than this "
            f"one ({recognizer.job.model}, {found[:12]}); make it anew with trainer.embed"
        )
