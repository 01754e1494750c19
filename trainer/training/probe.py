"""The probe: a logistic regression on what a pretrained network, left as it is, gives for each track.

The network's last values are computed once for each patch, and their means over a track's patches are kept on this
machine, so that only the first training on a dataset has to wait. Standardised, weights and biases for them minimise

  sum over tracks of -log p(label) + l2 / 2 x sum of the squared weights,

a convex problem with one solution. l2 is chosen by cross-validation over groups (artists) within the training tracks,
by the lowest loss. Means of patches are fitted, while patches are classified and their probabilities averaged: on real
tracks that is as accurate as fitting patches, and needs no step size, epochs or seed.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import scipy.optimize
import scipy.special
import threadpoolctl

from tfrecords.common import files
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.manifest import count_patches
from tfrecords.reader import raise_shard_errors
from tfrecords.schema import Record
from trainer import npz, training_job
from trainer.models import musicnn
from trainer.training.callbacks import save_model
from trainer.training.schedules import History
from trainer.training_job import TrainingJob

_L2 = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
# Where there are no two groups to choose it by.
_USUAL_L2 = 300.0
_FOLDS = 5
_BATCH = 64
_MAX_ITERATIONS = 1000
# Share of the loss by which a step must better it, in the fit that is kept and in those that only choose l2.
_TOLERANCE, _ROUGH_TOLERANCE = 1e-9, 1e-5


class Units(NamedTuple):
    """What the network gives for the tracks of a part, or of several.

    Attributes:
      means: [tracks, units] float64, over each track's patches.
      labels: [tracks] int64.
      groups: [tracks] str.
    """

    means: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


class Head(NamedTuple):
    """A softmax layer on standardised units.

    Attributes:
      mean: [units] float64.
      variance: [units] float64.
      weights: [units, labels] float64.
      biases: [labels] float64.
    """

    mean: np.ndarray
    variance: np.ndarray
    weights: np.ndarray
    biases: np.ndarray

    def log_probabilities(self, means: np.ndarray) -> np.ndarray:
        """Return [tracks, labels] float64 for [tracks, units]."""
        return scipy.special.log_softmax(_standardized(self, means) @ self.weights + self.biases, axis=1)


def run(model: keras.Model, job: TrainingJob, job_dir: Path) -> History:
    """Fit a new model's last layer; afterwards job_dir/best.keras holds the model, and history.csv its losses.

    Returns:
      One row: loss and accuracy of the training tracks, and of those for validation if there are any.

    Raises:
      UserError: a shard is corrupt, or a file cannot be written.
    """
    history = [start(model, job)]
    training_job.write_history(job_dir, history)
    save_model(model, job_dir / training_job.CHECKPOINT_FILE)
    return history


def start(model: keras.Model, job: TrainingJob) -> dict[str, float]:
    """Fit a new model's last layer; return the row of its history (see `run`)."""
    network = musicnn.feature_model(model)
    units = _all_units(network, job, job.parts.train)
    l2 = choose_l2(units, num_labels=len(job.labels))
    head = fit(units, num_labels=len(job.labels), l2=l2)
    model.get_layer(musicnn.STANDARDIZE_LAYER).set_weights([head.mean, head.variance])
    model.get_layer(musicnn.HEAD_LAYER).set_weights([head.weights, head.biases])
    print(f"{model.name}: a layer for {len(units.labels)} tracks, L2 {l2:g}", flush=True)
    row = _scores(head, units)
    if job.parts.valid:
        validation = _scores(head, _all_units(network, job, job.parts.valid))
        row |= {f"val_{name}": value for name, value in validation.items()}
    return row


def fit(units: Units, *, num_labels: int, l2: float, tolerance: float = _TOLERANCE) -> Head:
    """Return the solution for a strength of regularisation.

    Example:
      >>> units = Units(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1]), np.array(["a", "b", "c", "d"]))
      >>> fit(units, num_labels=2, l2=0.1).log_probabilities(np.array([[0.5]])).argmax()
      np.int64(0)
    """
    count = units.means.shape[1]
    empty = Head(units.means.mean(axis=0), units.means.var(axis=0), np.zeros((count, num_labels)), np.zeros(num_labels))
    inputs, targets = _standardized(empty, units.means), np.eye(num_labels)[units.labels]

    def loss_and_gradient(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights, biases = values[:-num_labels].reshape(count, num_labels), values[-num_labels:]
        logs = scipy.special.log_softmax(inputs @ weights + biases, axis=1)
        errors = np.exp(logs) - targets
        gradient = np.append((inputs.T @ errors + l2 * weights).ravel(), errors.sum(axis=0))
        return float(-(targets * logs).sum() + l2 / 2 * (weights**2).sum()), gradient

    begin = np.zeros((count + 1) * num_labels)
    options = {"maxiter": _MAX_ITERATIONS, "ftol": tolerance}
    # The products are small: threads of BLAS would cost more than they save.
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        values = scipy.optimize.minimize(loss_and_gradient, begin, jac=True, method="L-BFGS-B", options=options).x
    return empty._replace(weights=values[:-num_labels].reshape(count, num_labels), biases=values[-num_labels:])


def choose_l2(units: Units, *, num_labels: int) -> float:
    """Return the strength that loses least on groups left out of the fit; the usual one where there is one group."""
    folds = group_folds(units.groups, _FOLDS)
    if folds.max() == 0:
        return _USUAL_L2

    def loss(l2: float) -> float:
        total = 0.0
        for fold in range(folds.max() + 1):
            own = folds == fold
            head = fit(_select(units, ~own), num_labels=num_labels, l2=l2, tolerance=_ROUGH_TOLERANCE)
            total -= head.log_probabilities(units.means[own])[np.arange(own.sum()), units.labels[own]].sum()
        return total

    return min(_L2, key=loss)


def group_folds(groups: Sequence[str] | np.ndarray, count: int) -> np.ndarray:
    """Return a fold for each track, [tracks] int64, of about equal size and with no group in two of them.

    Example:
      >>> group_folds(["a", "b", "a", "c"], 2)
      array([0, 1, 0, 1])
    """
    names, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    totals = np.zeros(min(count, len(names)), np.int64)
    fold_of = np.zeros(len(names), np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        fold_of[group] = totals.argmin()
        totals[fold_of[group]] += sizes[group]
    return fold_of[numbers]


def _standardized(head: Head, means: np.ndarray) -> np.ndarray:
    """Return what the model's layer makes of the units."""
    return (means - head.mean) / np.sqrt(head.variance + musicnn.VARIANCE_FLOOR)


def _select(units: Units, chosen: np.ndarray) -> Units:
    return Units(*(values[chosen] for values in units))


def _scores(head: Head, units: Units) -> dict[str, float]:
    logs = head.log_probabilities(units.means)
    return {
        "loss": float(-logs[np.arange(len(logs)), units.labels].mean()),
        "accuracy": float((logs.argmax(axis=1) == units.labels).mean()),
    }


def _all_units(network: keras.Model, job: TrainingJob, parts: Sequence[str]) -> Units:
    """Return the units of several parts, each computed or as it was kept."""
    dataset = Dataset(job.data_dir)
    of_parts = [_units(network, job, dataset, part) for part in parts]
    return Units(*(np.concatenate(values) for values in zip(*of_parts, strict=True)))


def _units(network: keras.Model, job: TrainingJob, dataset: Dataset, part: str) -> Units:
    path = files.user_cache_dir() / f"units-{_key(network, job, part)}.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Units(*(arrays[name] for name in Units._fields))
    except npz.DAMAGED:
        print(f"{network.name}: computes its units for {part}", flush=True)
    with raise_shard_errors():
        units = compute_units(network, dataset.records(part), patch_frames=job.patch_frames)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        npz.save(path, units._asdict())
    except (OSError, UserError) as error:
        print(f"{network.name}: its units are not kept for the next training: {error}", flush=True)
    return units


def _key(network: keras.Model, job: TrainingJob, part: str) -> str:
    """Return a name that differs where the units of a part may."""
    facts = (job.fingerprint, part, job.patch_frames, job.precision, keras.backend.backend(), keras.version())
    digest = hashlib.sha256(repr(facts).encode())
    for values in network.get_weights():
        digest.update(values.tobytes())
    return digest.hexdigest()[:32]


def compute_units(network: keras.Model, records: Iterator[Record], *, patch_frames: int) -> Units:
    """Return the units of all tracks of which a record holds a patch.

    Args:
      network: patches -> units.
      records: in any order.
      patch_frames: frames in a patch; patches follow one another.
    """
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    about: dict[str, tuple[int, str]] = {}
    for names, units in _batches_of_units(network, _patches(records, about, patch_frames)):
        for name, row in zip(names, units, strict=True):
            sums[name] = sums.get(name, 0) + row.astype(np.float64)
            counts[name] = counts.get(name, 0) + 1
    means = np.stack([total / counts[name] for name, total in sums.items()])
    labels, groups = zip(*(about[name] for name in sums), strict=True)
    return Units(means, np.array(labels, np.int64), np.array(groups))


def _patches(
    records: Iterator[Record], about: dict[str, tuple[int, str]], frames: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each patch, [frames, mel_bands] float32, with its track, whose label and group are added to `about`."""
    for record in records:
        about[record.track_id] = record.label, record.group
        for number in range(count_patches(len(record.log_mel), patch_frames=frames, patch_hop=frames)):
            yield record.track_id, record.log_mel[number * frames :][:frames].astype(np.float32)


def _batches_of_units(
    network: keras.Model, patches: Iterator[tuple[str, np.ndarray]]
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield the tracks of some patches, with their units [patches, units] float32."""
    names: list[str] = []
    # One shape for all batches: a network is compiled for each.
    batch = np.zeros((_BATCH, *network.input_shape[1:]), np.float32)

    def compute() -> np.ndarray:
        return keras.ops.convert_to_numpy(network.predict_on_batch(batch))[: len(names)]

    for name, patch in patches:
        batch[len(names), ..., 0] = patch
        names.append(name)
        if len(names) == _BATCH:
            yield names, compute()
            names = []
    if names:
        yield names, compute()
