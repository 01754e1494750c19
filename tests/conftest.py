import dataclasses
import json
import os
import signal
from collections import Counter

import numpy as np
import pytest

from tfrecords.common import shutdown
from tfrecords.manifest import FILE_NAME, BandStatistics, Manifest, Part, Shard, lengths_text
from tfrecords.schema import DTYPES, Record, encode
from tfrecords.shard import RecordWriter, shard_file
from trainer.evaluation import metrics
from trainer.evaluation.cross_validation import CrossValidation
from trainer.evaluation.pooling import PooledPredictions
from trainer.evaluation.saved_predictions import FoldPredictions

# In the background of a shell Ctrl-C is ignored, which the processes that tests start would inherit.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# As the commands have it, for those that tests start: JAX, where a test imports it, would set another.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(autouse=True)
def handlers_of_signals():
    """Those of the tests, whatever a command sets for its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True, scope="session")
def cache_of_shards(tmp_path_factory):
    """In the place of the user's own, also for processes that tests start."""
    os.environ["TFRECORDS_CACHE_DIR"] = str(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def end_by_signal(monkeypatch):
    """Does what a signal does in the main thread, but for the process, which goes on with SystemExit."""

    def leave(status):
        raise SystemExit(status)

    monkeypatch.setattr(shutdown, "_is_ending", False)
    monkeypatch.setattr(os, "_exit", leave)
    return lambda: shutdown.end("terminated", shutdown.TERMINATED_STATUS)


FRONT_END = {"sample_rate": 22050, "frame_length": 1024, "hop_length": 512, "compression": "log10"}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset on disk and what was put into it: `records` part -> records in order, `exact` before rounding."""

    path: object
    manifest: Manifest
    records: dict[str, list[Record]]
    exact: dict[str, np.ndarray]

    def shards(self, *parts):
        return [self.path / shard.file for part in parts for shard in self.manifest.parts[part].shards]


def write_dataset(
    path,
    *,
    parts=("train", "valid", "test"),
    labels=("blues", "jazz", "rock"),
    tracks_per_label=2,
    frames=(100, 250),
    segments=1,
    mel_bands=40,
    dtype="float16",
    shards_per_part=2,
    seed=0,
    fingerprint="f" * 64,
    front_end=(),
    split=(),
    group_of=lambda track_id: f"artist of {track_id}",
):
    """Writes a dataset of noise in which each label is loud in bands of its own, so that a model can learn it.

    `frames`: lengths of records are drawn from this range, both ends included.
    """
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    written, records, exact = {}, {}, {}
    for part in parts:
        tracks = [(label, track) for track in range(tracks_per_label) for label in range(len(labels))]
        spectrograms, own = [], [[] for _ in range(shards_per_part)]
        for number, (label, track) in enumerate(tracks):
            track_id = f"{labels[label]}/{part} {track} é.wav"
            for segment in range(segments):
                log_mel = rng.uniform(0, 3, (rng.integers(frames[0], frames[1] + 1), mel_bands)).astype(np.float32)
                log_mel[:, label * mel_bands // len(labels) : (label + 1) * mel_bands // len(labels)] += 2
                spectrograms.append(log_mel)
                record = Record(track_id, group_of(track_id), label, segment, log_mel.astype(DTYPES[dtype]))
                own[number * shards_per_part // len(tracks)].append(record)
        shards = [
            _write_shard(path / shard_file("tiny", part, index, shards_per_part), own[index])
            for index in range(shards_per_part)
        ]
        records[part] = [record for shard in own for record in shard]
        exact[part] = np.concatenate([np.zeros((0, mel_bands), np.float32), *spectrograms])
        written[part] = Part(
            shards=tuple(shards),
            tracks=dict.fromkeys(labels, tracks_per_label),
            record_frames=dict(Counter(len(record.log_mel) for record in records[part])),
            statistics=BandStatistics.merged(map(BandStatistics.of, spectrograms), mel_bands),
        )
    manifest = Manifest(
        name="tiny",
        labels=tuple(labels),
        front_end=FRONT_END | {"n_mels": mel_bands} | dict(front_end),
        dtype=dtype,
        parts=written,
        split={"method": "given", "grouped": True, "group_safe": True} | dict(split),
        rejects={"too_short": 2},
        fingerprint=fingerprint,
        versions={"numpy": "2"},
    )
    (path / FILE_NAME).write_text(manifest.to_json(), "utf-8")
    return Dataset(path, manifest, records, exact)


def _write_shard(path, records):
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for record in records:
            writer.write(encode(record))
    frames = [len(record.log_mel) for record in records]
    return Shard(path.name, writer.records, sum(frames), writer.size, writer.sha256, lengths_text(frames))


def without_lengths(path):
    """Make the manifest of a dataset one that does not say how long records are, as earlier versions wrote it."""
    data = json.loads((path / FILE_NAME).read_text("utf-8"))
    for part in data["parts"].values():
        for shard in part["shards"]:
            del shard["lengths"]
    (path / FILE_NAME).write_text(json.dumps(data), "utf-8")


@pytest.fixture(scope="session", name="without_lengths")
def without_lengths_fixture():
    return without_lengths


@pytest.fixture(scope="session", name="write_dataset")
def write_dataset_fixture():
    return write_dataset


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Train, valid and test, two shards each; not to be changed by a test."""
    return write_dataset(tmp_path_factory.mktemp("tiny") / "dataset")


@pytest.fixture
def own(tmp_path):
    """A dataset of three folds that a test may damage."""
    return write_dataset(tmp_path / "own", parts=("fold_0", "fold_1", "fold_2"), frames=(5, 9), mel_bands=4)


TRACKS = {f"{label}/{number}": (label, f"artist {number // 2}") for number in range(8) for label in range(2)}


def write_cv(path, accuracy_of, *, seeds=(0,), recipe="modern", seed=0, core_seconds=None, tracks=TRACKS, flags=()):
    """Leaves the files of a finished cross-validation of made-up predictions.

    accuracy_of: model -> the share of tracks that it recognises, about; tracks: track_id -> (label, group);
    core_seconds: of every run; flags: those that differ from the recipe's.
    """
    rng = np.random.default_rng(seed)
    labels = np.array([label for label, _ in tracks.values()], np.int32)
    shares = np.array(list(accuracy_of.values()))[:, np.newaxis, np.newaxis]
    right = rng.random((len(accuracy_of), len(seeds), len(tracks))) < shares
    of_first = np.where(right == (labels == 0), 0.9, 0.1) + rng.uniform(-0.05, 0.05, right.shape)
    pooled = PooledPredictions(
        track_ids=tuple(tracks),
        labels=labels,
        groups=tuple(group for _, group in tracks.values()),
        folds=np.arange(len(tracks), dtype=np.int32) % 2,
        label_names=("blues", "rock"),
        models=tuple(accuracy_of),
        seeds=tuple(seeds),
        probabilities=np.stack([of_first, 1 - of_first], axis=3).astype(np.float32),
    )
    path.mkdir(parents=True)
    pooled.save(path / "predictions.npz")
    given = {"recipe": recipe, "epochs": 40, "model_options": ""} | dict(flags)
    asked = CrossValidation("DATA", "f" * 64, tuple(accuracy_of), tuple(seeds), 2, given, "the command")
    asked.save(path)
    training = {"recipe": recipe, "described": f"{recipe}: Adam", "patch_frames": 80, "augment": ""}
    without = len(TRACKS) - len(tracks)
    results = {
        "data": {"name": "tiny", "tracks": len(tracks), "tracks_without_patch": without, "grouped": True},
        "training": training,
        "seeds": list(seeds),
        "warnings": [],
        "models": {model: {"parameters": 1000 * len(model)} for model in accuracy_of},
    }
    (path / "results.json").write_text(json.dumps(results))
    for run in asked.runs() if core_seconds else ():
        run.job_dir(path).mkdir(parents=True)
        own = metrics.Predictions(np.full((1, 2), 0.5, np.float32), np.zeros(1, np.int32), ["a"], ("blues", "rock"))
        fold = FoldPredictions(own, parameters=1, epochs=1, best_epoch=1, core_seconds=core_seconds)
        fold.save(run.job_dir(path) / "predictions.npz")
    return path


@pytest.fixture(scope="session", name="write_cv")
def write_cv_fixture():
    return write_cv
