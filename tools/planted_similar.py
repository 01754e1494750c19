"""Plants copies among clips and counts how often `trainer.similar` names the original first, and how fast it searches.

python -m tools.planted_similar [--audio=DIR,DIR] [--clips=1000] [--copies=100] [--job_dir=JOB] [--rows=1000000]
    [--work_dir=DIR]

The clips are those of the folders of --audio, filled up with synthetic ones. Copies are made of some of them (of those
of --audio, where there are enough) at a gain of 0.3 to 1, half of them resampled to 44.1 kHz, as MP3 or Ogg Vorbis at
several qualities or as M4A: once from the clip's start, and once from a start of up to 5 s. trainer.embed embeds the
clips and the copies with the published network or that of a job, and it is counted how many copies have their original
as the nearest of all, by the search of trainer.similar and by other measures. Then random embeddings, as many as
--rows says and of the same size, are searched. Copies of less than 32 kbit/s, the smallest of Ogg Vorbis, are counted
apart, too: they hold audible noise of the codec. Exit status 1 if trainer.similar misses more than 1 % of all others,
or a search takes 2 s.
"""

import csv
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from beam_preprocess import synthesize
from beam_preprocess.audio import EXTENSIONS
from benchmarks import processes
from tfrecords.common import command_line, shutdown
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import align_columns
from tools import planted_copies
from trainer.serving.recognizer import check_source

WANTED, MAX_SEARCH_S = 0.99, 2.0
_STARTS_S = {"from the start": 0.0, "from up to 5 s": 5.0}
_SEARCHES = 5
_LEAST_KBITS = 32
_USUAL, _SMALL = f"{_LEAST_KBITS} kbit/s or more", f"below {_LEAST_KBITS} kbit/s"

FLAGS = flags.FlagValues()
flags.DEFINE_list("audio", [], "folders of audio, a folder a genre", flag_values=FLAGS)
flags.DEFINE_integer("clips", 1000, "clips in the collection", lower_bound=2, flag_values=FLAGS)
flags.DEFINE_integer("copies", 100, "copies of each kind", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a synthetic clip", lower_bound=10.0, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the copies", flag_values=FLAGS)
flags.DEFINE_string("job_dir", "", "job whose model embeds; by default the published network", flag_values=FLAGS)
flags.DEFINE_string("work_dir", None, "where clips and copies are kept; by default nowhere", flag_values=FLAGS)
flags.DEFINE_integer("rows", 1_000_000, "random embeddings to search", lower_bound=1, flag_values=FLAGS)

Transform = Callable[[np.ndarray], np.ndarray]


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Plants copies, embeds, counts, and searches; returns the exit status."""
    command_line.no_arguments(positional)
    model = "" if flag_values.job_dir else "musicnn"
    check_source(flag_values.job_dir, model)
    source = f"--job_dir={flag_values.job_dir}" if flag_values.job_dir else f"--model={model}"
    with tempfile.TemporaryDirectory() as temporary, shutdown.cleanup_on_signal(lambda: shutil.rmtree(temporary)):
        folder = Path(flag_values.work_dir or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        real, clips = make_collection(folder, flag_values.audio, clips=flag_values.clips, seconds=flag_values.seconds)
        chosen = real if len(real) >= flag_values.copies else clips
        originals = write_copies(folder, chosen, copies=flag_values.copies, seed=flag_values.seed)
        collection = folder / "clips.parquet"
        seconds = embed(source, folder / "clips.csv", collection)
        print(f"{len(clips):,} clips embedded in {seconds:.0f} s, {len(real):,} of them not synthetic", flush=True)
        embed(source, folder / "copies", folder / "copies.parquet")
        found, units = nearest_in_every_way(collection, folder / "copies.parquet", originals)
    print(align_columns([["nearest", *found], *table(found)]))
    usual = next(shares for name, shares in found.items() if name.startswith(_USUAL))
    prepare_s, search_s = search_seconds(flag_values.rows, units)
    print(
        f"{flag_values.rows:,} random embeddings of {units} values: prepared in {prepare_s:.2f} s, "
        f"a search takes {search_s:.3f} s (the median of {_SEARCHES})"
    )
    return int(usual["trainer.similar"] < WANTED or search_s >= MAX_SEARCH_S)


def make_collection(folder: Path, audio: Sequence[str], *, clips: int, seconds: float) -> tuple[list[Path], list[Path]]:
    """Lists the clips of a collection in folder/clips.csv, and writes the synthetic ones.

    Returns:
      The clips of the folders of `audio`, and those with all others.

    Raises:
      UserError: there is no audio in the folders.
    """
    real = [
        path.absolute() for each in audio for path in sorted(Path(each).rglob("*")) if path.suffix.lower() in EXTENSIONS
    ][:clips]
    if audio and not real:
        raise UserError(f"--audio={','.join(audio)} holds no audio")
    missing = clips - len(real)
    if missing:
        per_genre = -(-missing // len(synthesize.GENRES))
        synthesize.synthesize_dataset(folder / "synthetic", tracks_per_genre=per_genre, seconds=seconds)
    synthetic = sorted((folder / "synthetic").rglob("*.wav"))[:missing]
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path"])
        writer.writerows([str(path)] for path in [*real, *synthetic])
    return real, [*real, *synthetic]


def write_copies(folder: Path, clips: Sequence[Path], *, copies: int, seed: int) -> dict[str, list[Path]]:
    """Writes copies of clips to folder/copies/KIND, named by numbers, unless folder/copies.csv lists them already.

    Returns:
      Kind -> the originals, in the order of the copies.
    """
    listed = folder / "copies.csv"
    if listed.exists():
        with listed.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {kind: [Path(row["original"]) for row in rows if row["kind"] == kind] for kind in _STARTS_S}
    rng = np.random.default_rng(seed)
    originals: dict[str, list[Path]] = {}
    for start, max_start_s in _STARTS_S.items():
        (folder / "copies" / start).mkdir(parents=True, exist_ok=True)
        originals[start] = [clips[index] for index in rng.permutation(len(clips))[:copies]]
        for number, original in enumerate(originals[start]):
            codec = planted_copies.CODECS[number % len(planted_copies.CODECS)]
            copy = folder / "copies" / start / f"{number:06d}.{codec.lower()}"
            planted_copies.write_changed(original, copy, codec, rng, max_start_s=max_start_s)
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "original"])
        writer.writerows([kind, path] for kind, own in originals.items() for path in own)
    return originals


def embed(source: str, audio: Path, output: Path) -> float:
    """Runs trainer.embed; returns the seconds that it took."""
    return processes.run_checked("-m", "trainer.embed", source, f"--input={audio}", f"--output={output}").seconds


def nearest_in_every_way(
    collection: Path, copies: Path, originals: Mapping[str, Sequence[Path]]
) -> tuple[dict[str, dict[str, float]], int]:
    """Counts the copies whose original is the nearest.

    Args:
      collection: embeddings of the clips.
      copies: those of the copies, whose label is their kind.
      originals: kind -> the originals, in the order of the copies.

    Returns:
      Kind, and bit rate, -> way to compare -> share of the copies; and the size of an embedding.
    """
    from trainer.serving.embeddings import Embeddings
    from trainer.serving.similarity import Collection

    clips, of_copies = Embeddings.read(str(collection)), Embeddings.read(str(copies))
    paths, kinds = np.array(clips.paths.to_pylist()), np.array(of_copies.labels.to_pylist())
    expected = np.empty(len(kinds), object)
    for kind, own in originals.items():
        expected[kinds == kind] = list(map(str, own))
    is_small = kbits(of_copies.paths.to_pylist(), copies) < _LEAST_KBITS
    chosen = {kind: kinds == kind for kind in originals} | {_USUAL: ~is_small, _SMALL: is_small}
    ways = {way: _nearest_by_product(fit(clips.vectors), clips.vectors, paths) for way, fit in WAYS.items()}
    search = Collection(clips)
    ways = {"trainer.similar": lambda rows: [search.nearest(row, 1)[0].path for row in rows]} | ways
    named = {way: np.array(name(of_copies.vectors)) == expected for way, name in ways.items()}
    shares = {
        f"{name} ({rows.sum()})": {way: float(right[rows].mean()) for way, right in named.items()}
        for name, rows in chosen.items()
        if rows.any()
    }
    return shares, clips.vectors.shape[1]


def kbits(paths: Sequence[str], embeddings: Path) -> np.ndarray:
    """Returns the bit rate of each file, [files], by its size and the duration in a file of embeddings."""
    import pyarrow.parquet as pq

    seconds = pq.read_table(embeddings, columns=["duration_s"])["duration_s"].to_numpy()
    return np.array([Path(path).stat().st_size for path in paths]) * 8 / 1000 / seconds


def _nearest_by_product(transform: Transform, vectors: np.ndarray, paths: np.ndarray) -> Callable:
    """Returns a function that names the nearest of the vectors for each row of others."""
    known = _unit_length(transform(vectors))
    return lambda rows: paths[(_unit_length(transform(rows)) @ known.T).argmax(axis=1)].tolist()


def _unit_length(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _centred(vectors: np.ndarray) -> Transform:
    mean = vectors.mean(axis=0)
    return lambda rows: rows - mean


def _standardized(vectors: np.ndarray) -> Transform:
    mean, spread = vectors.mean(axis=0), vectors.std(axis=0)
    return lambda rows: (rows - mean) / np.maximum(spread, 1e-6 * spread.max())


def _whitened(vectors: np.ndarray) -> Transform:
    centred = _centred(vectors)
    values, directions = np.linalg.eigh(np.cov(centred(vectors), rowvar=False))
    kept = values > 1e-6 * values.max()
    return lambda rows: centred(rows) @ (directions[:, kept] / np.sqrt(values[kept]))


# The cosine of embeddings that are changed in a way fitted to the collection.
WAYS: dict[str, Callable[[np.ndarray], Transform]] = {
    "cosine": lambda vectors: lambda rows: rows,
    "cosine, centred": _centred,
    "cosine, standardised": _standardized,
    "cosine, whitened": _whitened,
}


def table(found: dict[str, dict[str, float]]) -> list[list[str]]:
    """Returns a row for each way to compare."""
    return [[way, *(f"{100 * shares[way]:.1f} %" for shares in found.values())] for way in next(iter(found.values()))]


def search_seconds(rows: int, units: int) -> tuple[float, float]:
    """Returns the seconds to prepare random embeddings, and to search them once they are."""
    import pyarrow as pa

    from trainer.serving.embeddings import Embeddings, Origin
    from trainer.serving.similarity import Collection

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((rows, units), np.float32)
    names = pa.chunked_array([pa.array(map(str, range(rows)), pa.string())])
    began = time.perf_counter()
    collection = Collection(Embeddings(Origin("random", "", {}, 0), names, names, vectors))
    prepare_s = time.perf_counter() - began
    times = []
    for query in rng.standard_normal((_SEARCHES, units), np.float32):
        began = time.perf_counter()
        collection.nearest(query, 10)
        times.append(time.perf_counter() - began)
    return prepare_s, statistics.median(times)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
