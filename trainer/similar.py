"""Name the tracks of a collection that sound most like audio files.

python -m trainer.similar --embeddings=FILE [--num_neighbours=10] [--json] [--png=map.png] song.mp3|FOLDER ...

FILE is what trainer.embed has written. The model that made it is loaded from where it was then; --job_dir=JOB names a
job that has moved. Embeddings of another model, or of a job that was trained anew, are refused.

For each file: its nearest tracks, with their labels and similarities, the nearest first. A similarity is the cosine of
the angle between two embeddings whose values are standardised over the collection: 1 is the same, 0 as like as any two
tracks. All tracks are compared. The file itself, where it is one of the collection, is left out. With --json, a line
for each file: {"path", "neighbours": [{"path", "label", "similarity"}]}.

--png draws the collection in two dimensions (PCA, or UMAP where umap-learn is installed), a colour for each label, with
the files as stars. It needs no files.

A file that cannot be used is one line on standard error, and then the exit status is 1, as in trainer.predict. A silent
file has no neighbours.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from beam_preprocess.audio import Reject
from tfrecords import storage
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.common.files import atomic_write
from tfrecords.common.terminal import printable
from trainer import job_store
from trainer.serving import answers
from trainer.serving.files import list_inputs, recognize_with_progress
from trainer.serving.recognizer import MAX_DURATION_S, Recognition, Recognizer

if TYPE_CHECKING:
    import numpy as np

    from trainer.serving.similarity import Collection, Neighbour

_PROJECTIONS = ("pca", "umap")

FLAGS = flags.FlagValues()
flags.DEFINE_string("embeddings", "", "the file that trainer.embed has written", flag_values=FLAGS)
flags.DEFINE_string("job_dir", "", "directory of the job that made it, if it has moved", flag_values=FLAGS)
flags.DEFINE_integer("num_neighbours", 10, "tracks to name for each file", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print a line of JSON for each file instead of text", flag_values=FLAGS)
flags.DEFINE_string("png", None, "picture of the collection, with the files marked", flag_values=FLAGS)
flags.DEFINE_enum(
    "projection", None, _PROJECTIONS, "of the picture; by default umap where it is installed", flag_values=FLAGS
)
flags.DEFINE_float("max_duration_s", MAX_DURATION_S, "reject longer audio (6 hours)", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Search for each file's neighbours; the exit status says whether all could be used."""
    if not flag_values.embeddings or not (positional or flag_values.png):
        raise UserError("--embeddings=FILE and one or more files or folders are needed (see --help)")
    if not flag_values.max_duration_s > 0:
        raise UserError(f"--max_duration_s must be above 0, got {flag_values.max_duration_s:g}")
    if flag_values.png is not None and not flag_values.png.lower().endswith(".png"):
        raise UserError(f"--png must name a file that ends with .png, got {flag_values.png!r}")
    job_store.check_local(flag_values.png)
    # Arrow takes a moment to import.
    from trainer.serving import embeddings
    from trainer.serving.similarity import Collection

    read = embeddings.Embeddings.read(flag_values.embeddings)
    status, queries = 0, dict[str, "np.ndarray"]()
    if positional:
        # Before the search is prepared: embeddings of another model are refused at once.
        recognizer = embeddings.load_origin(flag_values.embeddings, read.origin, job_dir=flag_values.job_dir)
    collection = Collection(read)
    if positional:
        status, queries = similar(
            recognizer,
            collection,
            positional,
            count=flag_values.num_neighbours,
            as_json=flag_values.json,
            max_duration_s=flag_values.max_duration_s,
        )
    if flag_values.png is not None:
        _draw(flag_values, collection, queries)
    return status


def similar(
    recognizer: Recognizer,
    collection: "Collection",
    arguments: list[str],
    *,
    count: int = 10,
    as_json: bool = False,
    max_duration_s: float = MAX_DURATION_S,
) -> tuple[int, dict[str, "np.ndarray"]]:
    """Print the nearest tracks of files, each as soon as they are known.

    Args:
      recognizer: with units; of the model that made the collection.
      collection: to search.
      arguments: files and folders.
      count: tracks to name for each.
      as_json: print lines of JSON.
      max_duration_s: longer audio is rejected.

    Returns:
      The exit status, and path -> embedding of the files that have one.
    """
    status, queries = 0, dict[str, "np.ndarray"]()
    for path, answer in recognize_with_progress(recognizer, list_inputs(arguments), max_duration_s=max_duration_s):
        if isinstance(answer, Reject):
            print(answers.reject_as_text(path, answer), file=sys.stderr, flush=True)
            status = 1
            if as_json:
                print(answers.reject_as_json(path, answer), flush=True)
            continue
        neighbours = []
        if answer.embedding is not None:
            queries[path] = answer.embedding
            neighbours = collection.nearest(answer.embedding, count, without=_as_stored(path))
        text = as_line(path, neighbours) if as_json else as_text(path, answer, neighbours, len(collection))
        print(text, flush=True)
    return status, queries


def as_line(path: str, neighbours: list["Neighbour"]) -> str:
    """Return a line of JSON: path, and neighbours with path, label and similarity."""
    return json.dumps({"path": path, "neighbours": [neighbour.to_json() for neighbour in neighbours]})


def as_text(path: str, recognition: Recognition, neighbours: list["Neighbour"], total: int) -> str:
    """Return a line that names the file, and one for each neighbour: similarity, label, path."""
    if recognition.embedding is None:
        return f"{printable(path)}: {answers.NOTES[answers.SILENT]}"
    head = f"{printable(path)}: nearest of {total:,} tracks"
    rows = [(f"  {one.similarity:.3f}", printable(one.label or "-"), printable(one.path)) for one in neighbours]
    width = max((len(label) for _, label, _ in rows), default=0)
    return "\n".join([head, *(f"{similarity}  {label:<{width}}  {shown}" for similarity, label, shown in rows)])


def _as_stored(path: str) -> str:
    """Return a path as trainer.embed stores it."""
    return path if storage.is_remote(path) else os.path.abspath(storage.plain(path))  # noqa: PTH100 - any path


def _draw(flag_values: flags.FlagValues, collection: "Collection", queries: dict[str, "np.ndarray"]) -> None:
    # Matplotlib is only needed here.
    from trainer.serving import map_plot

    projection = map_plot.choose_projection(flag_values.projection)
    picture = map_plot.map_png(collection, queries, title=Path(flag_values.embeddings).name, projection=projection)
    path = Path(flag_values.png)
    with atomic_write(path) as temporary:
        temporary.write_bytes(picture)
    print(f"map: {path}", file=sys.stderr if flag_values.json else sys.stdout)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
