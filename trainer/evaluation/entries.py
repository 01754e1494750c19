"""Rows of trainer.compare: each model with a name of its own, and how fast it predicts."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tfrecords.common import json_data
from tfrecords.common.command_line import UserError
from trainer.distribution.precision import FLOAT32
from trainer.evaluation import cross_validation
from trainer.evaluation.cross_validation import CrossValidation, Run
from trainer.evaluation.pooling import PooledPredictions
from trainer.evaluation.saved_predictions import PREDICTIONS_FILE, FoldPredictions
from trainer.training_job import TrainingJob

CLIP_S = 30.0
_CLIPS, _ROUNDS = 64, 5
# Batches of one size, so that TensorFlow traces a model once in four calls; more often, it warns of retracing.
_BATCH_CLIPS = 16


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """The dataset: its name, how many tracks it has, and whether its groups were kept apart."""

    name: str
    tracks: int
    tracks_without_patch: int
    grouped: bool


@dataclasses.dataclass(frozen=True)
class TrainingFacts:
    """How the models were trained; results of earlier versions lack the last two fields."""

    recipe: str
    described: str
    patch_frames: int
    augment: str
    model_options: Mapping[str, int] = dataclasses.field(default_factory=dict)
    precision: str = FLOAT32


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """A model: how many parameters it has."""

    parameters: int


@dataclasses.dataclass(frozen=True)
class Results:
    """The part of results.json that a comparison needs; `trainer.evaluation.results` describes all of it."""

    models: Mapping[str, ModelFacts]
    seeds: tuple[int, ...]
    data: DataFacts
    training: TrainingFacts
    warnings: tuple[str, ...]

    @classmethod
    def load(cls, cv_dir: Path) -> "Results":
        """Read the results.json of a cross-validation.

        Raises:
          UserError: there is none, or it is damaged.
        """
        data = cross_validation.load_results(cv_dir)
        try:
            return json_data.build(cls, data, more=True)
        except ValueError as error:
            raise cross_validation.damaged_results(cv_dir, error) from None


@dataclasses.dataclass(frozen=True, eq=False)
class Finished:
    """A finished cross-validation.

    Attributes:
      cv_dir: its directory.
      asked: the trainings that it consists of.
      results: its results.
      pooled: its predictions.
    """

    cv_dir: Path
    asked: CrossValidation
    results: Results
    pooled: PooledPredictions

    @classmethod
    def load(cls, cv_dir: Path) -> "Finished":
        """Read one from its directory.

        Raises:
          UserError: the directory holds none, or one that is not finished or damaged.
        """
        results, asked = Results.load(cv_dir), CrossValidation.load(cv_dir)
        pooled = PooledPredictions.load(cv_dir / cross_validation.POOLED_FILE)
        if pooled.models != tuple(results.models) or pooled.seeds != results.seeds:
            raise UserError(
                f"{cv_dir}: {cross_validation.POOLED_FILE} and {cross_validation.RESULTS_FILE} are not of the same "
                "trainings; the command that made it writes both again"
            )
        return cls(cv_dir, asked, results, pooled)

    @property
    def recipe(self) -> str:
        """How its models were trained."""
        return self.results.training.recipe


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A model of a cross-validation.

    Attributes:
      name: differs from the names of all other entries.
      finished: the cross-validation.
      model: the name of one of its models.
      flags: "name=value, ..." of the flags in which it differs from entries with the same recipe; of model_options,
        from those with the same model too.
    """

    name: str
    finished: Finished
    model: str
    flags: str = ""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that it was trained from."""
        return self.finished.pooled.seeds

    @property
    def parameters(self) -> int:
        """How many parameters the model has."""
        return self.finished.results.models[self.model].parameters

    def runs(self) -> list[Run]:
        """Return its trainings, that of the first seed and fold first."""
        places = itertools.product((self.model,), self.seeds, range(self.finished.asked.folds))
        return [Run(*place) for place in places]

    def core_seconds(self) -> list[float]:
        """Return the core seconds of each of its trainings that was measured.

        Raises:
          UserError: the predictions of a run are damaged.
        """
        paths = [run.job_dir(self.finished.cv_dir) / PREDICTIONS_FILE for run in self.runs()]
        measured = [FoldPredictions.load(path).core_seconds for path in paths if path.exists()]
        return [seconds for seconds in measured if seconds is not None]


def load_all(cv_dirs: Iterable[Path]) -> list[Finished]:
    """Read cross-validations of one dataset.

    Raises:
      UserError: as Finished.load; or they are not of one dataset.
    """
    finished = [Finished.load(cv_dir) for cv_dir in cv_dirs]
    for other in finished[1:]:
        _check_same_data(finished[0], other)
    return finished


def _check_same_data(one: Finished, other: Finished) -> None:
    differences = {
        "fingerprints of the dataset": one.asked.fingerprint != other.asked.fingerprint,
        "numbers of folds": one.asked.folds != other.asked.folds,
        "labels": one.pooled.label_names != other.pooled.label_names,
    }
    if not any(differences.values()):
        tracks = common_tracks((one, other))
        pair = [each.pooled.only(tracks) for each in (one, other)]
        for name in ("labels", "groups", "folds"):
            differences[f"{name} of tracks"] = not np.array_equal(*(getattr(pooled, name) for pooled in pair))
    if phrases := [name for name, differs in differences.items() if differs]:
        raise UserError(
            f"{one.cv_dir} and {other.cv_dir} cannot be compared: other {', '.join(phrases)}; "
            "`job_dirs` takes cross-validations of the same dataset"
        )


def common_tracks(finished: Sequence[Finished]) -> list[str]:
    """Return the track_ids that all have, in the order of the first."""
    shared = set.intersection(*(set(each.pooled.track_ids) for each in finished))
    return [track_id for track_id in finished[0].pooled.track_ids if track_id in shared]


def entries_of(finished: Sequence[Finished]) -> list[Entry]:
    """Return every model of every cross-validation, named by the model, the recipe and flags as far as these differ.

    Raises:
      UserError: two have all of these in common.
    """
    recipes = {each.recipe for each in finished}
    entries = []
    for each in finished:
        for model in each.pooled.models:
            name = model if len(recipes) == 1 else f"{model}, {each.recipe}"
            flags = _differing_flags(each, model, [other for other in finished if other.recipe == each.recipe])
            entries.append(Entry(f"{name}, {flags}" if flags else name, each, model, flags))
    for one, other in itertools.combinations(entries, 2):
        if one.name == other.name:
            raise UserError(
                f"{one.finished.cv_dir} and {other.finished.cv_dir} both have {one.name}, trained with the same "
                "settings; leave one of them out of `job_dirs`"
            )
    return entries


def _differing_flags(finished: Finished, model: str, same_recipe: Sequence[Finished]) -> str:
    """The flags that mean something else in others with the same recipe; flags that an earlier version had not, too."""
    phrases = []
    for name in dict.fromkeys(name for each in (finished, *same_recipe) for name in each.asked.flags):
        value = finished.asked.flags.get(name)
        meaning = cross_validation.parsed_flag(name, value)
        # A model's own options say nothing beside those of another model.
        others = [each for each in same_recipe if name != "model_options" or model in each.pooled.models]
        if any(cross_validation.parsed_flag(name, other.asked.flags.get(name)) != meaning for other in others):
            phrases.append(f"{name}={meaning if value is None else value}")
    return ", ".join(phrases)


def predictions_per_s(entries: Sequence[Entry]) -> dict[str, list[float]]:
    """Measure how many clips of 30 s a second the model of each entry's first seed and fold classifies.

    From normalised patches, which lie in memory, to probabilities. A clip is all its patches, as evaluation cuts them.
    Each model is run once to warm up; then come rounds, in each of which every model has its turn.

    Returns:
      {name of the entry: clips a second of each round}.

    Raises:
      UserError: a model is gone or damaged.
    """
    rounds = [_round_of(entry) for entry in entries]
    for run in rounds:
        run()
    times = [[_seconds(run) for run in rounds] for _ in range(_ROUNDS)]
    return {
        entry.name: [_CLIPS / seconds for seconds in of_entry]
        for entry, of_entry in zip(entries, zip(*times, strict=True), strict=True)
    }


def _round_of(entry: Entry) -> Callable[[], object]:
    from trainer.evaluation.predictions import load_model

    job_dir = entry.runs()[0].job_dir(entry.finished.cv_dir)
    try:
        job, model = TrainingJob.load(job_dir), load_model(job_dir)
    except UserError as error:
        raise UserError(f"{entry.name} cannot be timed, which `predictions=false` leaves out: {error}") from None
    patches_per_clip = patches_of_clip(job)
    shape = (_CLIPS * patches_per_clip, *model.input_shape[1:])
    # As normalised patches: zeros might be an easier case.
    patches = np.random.default_rng(0).standard_normal(shape, np.float32)
    return lambda: model.predict(patches, batch_size=_BATCH_CLIPS * patches_per_clip, verbose=0)


def patches_of_clip(job: TrainingJob) -> int:
    """Return how many patches a clip of 30 s gives, at least one."""
    frames = int(CLIP_S * job.front_end["sample_rate"] / job.front_end["hop_length"])
    return max(1, job.patches_in(frames))


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
