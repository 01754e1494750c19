import contextlib
import copy
import dataclasses
import html.parser
import itertools
import json
import shutil
from collections import defaultdict

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import export, models, train
from trainer.evaluation import metrics
from trainer.reports import page
from trainer.serving.recognizer import Recognizer
from trainer.train import make_job
from trainer.training import tensorboard
from trainer.training.training_state import TrainingState


def train_flags(*arguments):
    """The flags of trainer.train as the command line gives them."""
    values = copy.deepcopy(train.FLAGS)
    values(["train", *arguments])
    return values


def job_of(data_dir, *arguments):
    """A job as the command line makes it: the small model, two epochs, unless told otherwise."""
    small = ["--model=time", "--epochs=2", "--batch_size=4", "--learning_rate=0.01"]
    return make_job(train_flags(f"--data_dir={data_dir}", *small, *arguments))


@pytest.fixture(autouse=True, scope="session")
def pictures_drawn_once():
    """Draws each kind of picture once: pictures are most of a small report's time and half of a small training's."""
    draw, drawn = page.picture, {}

    def picture(function, text, least_px):
        kind = (function.__qualname__, least_px)
        drawn[kind] = drawn.get(kind) or draw(function, text, least_px)
        return dataclasses.replace(drawn[kind], text=text)

    of_training, confusions = tensorboard._confusion_picture, {}

    def confusion_picture(confusion, labels):
        if labels not in confusions:
            confusions[labels] = of_training(confusion, labels)
        return confusions[labels]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "picture", picture)
        patch.setattr(tensorboard, "_confusion_picture", confusion_picture)
        yield draw


@pytest.fixture(scope="module")
def every_picture(pictures_drawn_once):
    """Draws all pictures of the pages, for tests that look at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "picture", pictures_drawn_once)
        yield


@pytest.fixture(scope="session", name="train_flags")
def train_flags_fixture():
    return train_flags


@pytest.fixture(scope="session", name="job_of")
def job_of_fixture():
    return job_of


@pytest.fixture(scope="session")
def trained(tiny, tmp_path_factory):
    """Directory of a job trained on the tiny dataset; not to be changed by a test."""
    job_dir = tmp_path_factory.mktemp("trained") / "job"
    job_dir.mkdir()
    # Few filters, for the reports draw each.
    train.train(job_of(tiny.path, "--model_options=filters=4"), job_dir)
    return job_dir


# Numbers of the published network's filters that hear something, by its variables; of the tests' own weights.
LIVE_FILTERS = {"conv2d": 3, "conv2d_1": 2, "conv2d_2": 1, "conv2d_3": 1, "conv2d_4": 2}


def write_musicnn(folder):
    """Writes a package of random weights in the form of the published one, which must not be imported."""
    from trainer.models import musicnn

    rng = np.random.default_rng(0)
    variables = {"dense/kernel/Adam": np.zeros(3, np.float32)}
    for name, shape in musicnn._variable_shapes().items():
        layer, _, part = name.rpartition("/")
        if part == "kernel":
            values = rng.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape)
            values[..., LIVE_FILTERS.get(layer, shape[-1]) :] = 0
        elif part in ("gamma", "moving_variance"):
            # A scale below 0, too.
            values = rng.uniform(0.5, 1.5, shape) * (rng.choice([-1, 1], shape) if part == "gamma" else 1)
        else:
            values = rng.normal(0, 0.5, shape)
        variables[name] = values.astype(np.float32)
    (folder / "musicnn" / "MSD_musicnn").mkdir(parents=True)
    (folder / "musicnn" / "__init__.py").write_text("raise ImportError('imported')\n")
    prefix = str(folder / "written")
    names = sorted(variables)
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=[variables[n] for n in names]
    )
    for ending in (".index", ".data-00000-of-00001"):
        (folder / f"written{ending}").rename(folder / "musicnn" / "MSD_musicnn" / ending)
    return folder


@pytest.fixture(scope="session")
def musicnn_package(tmp_path_factory):
    return write_musicnn(tmp_path_factory.mktemp("site"))


@pytest.fixture
def fake_musicnn(musicnn_package, monkeypatch, tmp_path):
    """Random weights in the place of the published ones, and nothing kept from other trainings."""
    monkeypatch.syspath_prepend(musicnn_package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return musicnn_package


@pytest.fixture(scope="session")
def recognizer(trained):
    return Recognizer.load(trained)


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory):
    """Directory of the exported model of `trained`, which replaced another; not to be changed by a test."""
    export_dir = tmp_path_factory.mktemp("exported") / "model"
    export_dir.mkdir()
    (export_dir / "export.json").write_text("{}")
    values = copy.deepcopy(export.FLAGS)
    values(["export", f"--job_dir={trained}", f"--export_dir={export_dir}", "--overwrite"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "jax")
        export.main(values, [])
    return export_dir


@contextlib.contextmanager
def states_kept(directory, kept, *, of=""):
    """Copies a directory to kept/1, kept/2, ... whenever a training in directory/of has just saved its state.

    Each is what the training would have left had it been killed then.
    """
    save, number = TrainingState.save, itertools.count(1)

    def save_and_copy(state, path):
        save(state, path)
        if path.parent == directory / of:
            shutil.copytree(directory, kept / str(next(number)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingState, "save", save_and_copy)
        yield


@pytest.fixture(scope="session", name="states_kept")
def states_kept_fixture():
    return states_kept


@pytest.fixture
def no_pictures(monkeypatch):
    """A report without its pictures, which take longer than all else and have tests of their own."""
    blank = "data:image/png;"
    monkeypatch.setattr(page, "picture", lambda draw, text, least_px: page.Picture(blank, blank, 1, 1, 1, text))


def events(directory):
    """What TensorBoard would show of a directory: tag -> [(step, value)], the value of a picture as its PNG file."""
    found = defaultdict(list)
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                content = tf.make_ndarray(value.tensor)
                shown = float(content) if content.dtype.kind == "f" else content[2]
                found[value.tag].append((event.step, shown))
    return found


@pytest.fixture(scope="session", name="read_events")
def read_events_fixture():
    return events


VOID = {"meta", "link", "img", "source", "br", "input"}


class Page(html.parser.HTMLParser):
    """A report's tags and text; every element has to be closed by its own end tag."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], "", []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="session", name="parse_page")
def parse_page_fixture():
    return Page


def model_of(guesses, labels, ids, names):
    """A model of results.json, from its guesses."""
    scores = metrics.summarize(metrics.Predictions(np.eye(len(names), dtype=np.float32)[guesses], labels, ids, names))
    accuracy = scores.track_accuracy_mean
    spread = {"mean": accuracy, "std": 0.05}
    return {
        "parameters": 12345,
        **dict.fromkeys(("patch_accuracy", "track_accuracy", "track_accuracy_vote"), spread),
        "pooled": {"track_accuracy": accuracy, "interval": [accuracy - 0.1, accuracy + 0.1], "per_seed": [accuracy]},
        "confusion_matrix": scores.confusion_matrix,
        "per_label": scores.per_label,
        "runs": [],
    }


def results_of(data, *, wrong_every, seeds=(0, 1)):
    """results.json by hand; wrong_every: model -> it is wrong for every so manieth track, by a genre of its own."""
    ids = [record.track_id for part in data.manifest.parts for record in data.records[part]]
    labels = np.array([record.label for part in data.manifest.parts for record in data.records[part]], np.int32)
    names, models = data.manifest.labels, list(wrong_every)
    guesses = np.tile(labels, (len(models), 1))
    for number, every in enumerate(wrong_every.values()):
        guesses[number, ::every] = (labels[::every] + 1 + number % 2) % len(names)
    wrong = (guesses != labels).mean(axis=0)
    worst_first = [int(number) for number in np.argsort(-wrong, kind="stable") if wrong[number]]
    pairs = [(one, other) for number, one in enumerate(models) for other in models[number + 1 :]]
    return {
        "data": {
            "name": data.manifest.name,
            "data_dir": str(data.path),
            "fingerprint": data.manifest.fingerprint,
            "tracks": len(ids),
            "groups": len(ids),
            "grouped": True,
            "folds": len(data.manifest.parts),
            "label_names": list(names),
            "tracks_per_label": data.manifest.tracks(["all"]),
            "chance": 1 / len(names),
        },
        "training": {"described": "Adam", "patch_frames": 80, "augment": "gain_db=3", "versions": {"keras": "3"}},
        "seeds": list(seeds),
        "warnings": [],
        "models": {name: model_of(own, labels, ids, names) for name, own in zip(models, guesses, strict=True)},
        "comparisons": [
            {"one": one, "other": other, "difference": -0.052, "interval": [-0.113, 0.024]} for one, other in pairs
        ],
        "tracks_most_wrong": [
            {
                "track_id": ids[number],
                "label": names[labels[number]],
                "wrong": float(wrong[number]),
                "predicted": {
                    names[guess]: len(seeds) * int(count)
                    for guess, count in zip(*np.unique(guesses[:, number], return_counts=True), strict=True)
                },
            }
            for number in worst_first
        ],
    }


@pytest.fixture(scope="session")
def three_folds(write_dataset, tmp_path_factory):
    """A dataset of three folds beside its input, where the audio of one track still lies."""
    directory = tmp_path_factory.mktemp("three folds")
    data = write_dataset(directory / "data", parts=("fold_0", "fold_1", "fold_2"), frames=(160, 250))
    audio = directory / "audio & more" / data.records["fold_0"][0].track_id
    audio.parent.mkdir(parents=True)
    audio.write_bytes(b"")
    (data.path / "metrics.json").write_text(json.dumps({"input": str(directory / "audio & more")}))
    return data


@pytest.fixture(scope="session")
def cross_validated(three_folds, tmp_path_factory):
    """Directory of a cross-validation of three models, the second the best; not to be changed."""
    cv_dir = tmp_path_factory.mktemp("cross-validated")
    wrong_every = {"black_box": 2, "time": 4, "time_frequency": 3}
    for name in wrong_every:
        job_dir = cv_dir / name / "seed_0" / "fold_0"
        job_dir.mkdir(parents=True)
        job_of(three_folds.path, f"--model={name}", "--test_fold=0").save(job_dir)
        keras.utils.set_random_seed(0)
        # Few filters, for the report draws each.
        models.create(name, num_classes=3, input_shape=(80, 40, 1), filters=4).save(job_dir / "best.keras")
    (cv_dir / "results.json").write_text(json.dumps(results_of(three_folds, wrong_every=wrong_every)))
    return cv_dir
