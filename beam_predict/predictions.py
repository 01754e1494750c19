"""The end of the job: what all shards of predictions have in common, as predictions.json and report.html."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata

from beam_predict.model import ModelFacts
from beam_predict.write_predictions import CONFIDENCE_STEPS, PredictedShard
from beam_preprocess import plan, storage
from beam_preprocess.config import JobConfig
from beam_preprocess.finish import FinishJob
from beam_preprocess.launch import PREDICTIONS_FILE
from beam_preprocess.shards import ShardFile
from tfrecords.common import json_data
from tfrecords.common.command_line import UserError

FORMAT_VERSION = 1
REPORT_FILE = "report.html"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The content of predictions.json; it says nothing that differs from run to run.

    Attributes:
      labels: the model's, in order.
      genres: those of the labels that are genres, where they are tags of any kind; None: all are.
      tracks: tracks that could be heard, silent ones included.
      rejects: reason -> inputs that cannot be used.
      named: label -> tracks that were given it.
      mean_probability: label -> mean of the probabilities of these.
      confidence: label -> how many of these have a probability in each of 20 equal steps from 0 to 1.
      notes: "silent" and "channels cancel" -> tracks.
      audio_s: seconds of audio of the tracks.
      embedding: whether the shards hold embeddings.
      model: name of the network.
      model_fingerprint: of the files that it was read from.
      shards: the Parquet files.
      fingerprint: of the job's plan.
      versions: of the libraries that decide the bytes.
      format_version: of this file and the shards.

    Raises:
      UserError: it is of another version.
    """

    labels: tuple[str, ...]
    genres: tuple[str, ...] | None
    tracks: int
    rejects: Mapping[str, int]
    named: Mapping[str, int]
    mean_probability: Mapping[str, float]
    confidence: Mapping[str, tuple[int, ...]]
    notes: Mapping[str, int]
    audio_s: float
    embedding: bool
    model: str
    model_fingerprint: str
    shards: tuple[ShardFile, ...]
    fingerprint: str
    versions: Mapping[str, str]
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise UserError(f"format_version must be {FORMAT_VERSION}, got {self.format_version}")

    def to_json(self) -> str:
        """Return the text of predictions.json."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def load(cls, output: str) -> "Predictions | None":
        """Return the predictions in an output; None if there are none, or if they are not complete.

        Raises:
          UserError: they are damaged, or of another version.
          OSError: they cannot be read.
        """
        uri = storage.join(output, PREDICTIONS_FILE)
        try:
            text = storage.read_text(uri)
            return None if text is None else json_data.build(cls, json_data.parse(text))
        except ValueError as error:
            raise UserError(f"{uri}: not predictions of this version ({error}); name the collection again") from None


@dataclasses.dataclass(frozen=True)
class PredictionsSpec:
    """What is known of a job before its first shard is written.

    Attributes:
      config: what it has in common with the preprocessing job.
      facts: of the model.
      embedding: whether embeddings are written.
      num_shards: number of files.
      num_tracks: over all of them.
      fingerprint: of the plan.
    """

    config: JobConfig
    facts: ModelFacts
    embedding: bool
    num_shards: int
    num_tracks: int
    fingerprint: str


class WriteSummary(FinishJob):
    """list[PredictedShard] -> the path of predictions.json."""

    def __init__(self, spec: PredictionsSpec) -> None:
        super().__init__(spec, PREDICTIONS_FILE)
        self._spec = spec

    def fingerprint_in(self, text: str) -> str:
        """Return the plan's fingerprint from the text of a predictions.json."""
        return json_data.build(Predictions, json_data.parse(text)).fingerprint

    def write(self, results: Sequence[PredictedShard], reasons: Counter[str], *more: object) -> str:
        """Write the page of the collection; return the text of predictions.json."""
        # Matplotlib and jinja2 are needed here only.
        from trainer.reports import predictions as page

        made = summarize(self._spec, results, reasons)
        storage.write_text(self._spec.config.output, REPORT_FILE, page.render(dataclasses.asdict(made)))
        return made.to_json()


def summarize(spec: PredictionsSpec, results: Sequence[PredictedShard], reasons: Mapping[str, int]) -> Predictions:
    """Add up the results of all shards, given in the order of their names."""
    named: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    probability: dict[str, float] = {}
    confidence: dict[str, list[int]] = {}
    for result in results:
        named.update(result.labels)
        notes.update(result.notes)
        for label, total in result.probability.items():
            probability[label] = probability.get(label, 0.0) + total
        for label, counts in result.confidence.items():
            totals = confidence.setdefault(label, [0] * CONFIDENCE_STEPS)
            totals[:] = [total + more for total, more in zip(totals, counts, strict=True)]
    return Predictions(
        labels=spec.facts.labels,
        genres=spec.facts.genres,
        tracks=sum(result.num_tracks for result in results),
        rejects=dict(sorted(reasons.items())),
        named=dict(sorted(named.items())),
        mean_probability={label: round(probability[label] / number, 6) for label, number in sorted(named.items())},
        confidence={label: tuple(counts) for label, counts in sorted(confidence.items())},
        notes=dict(sorted(notes.items())),
        audio_s=round(sum(result.audio_s for result in results), 3),
        embedding=spec.embedding,
        model=spec.facts.name,
        model_fingerprint=spec.facts.fingerprint,
        shards=tuple(result.shard for result in results),
        fingerprint=spec.fingerprint,
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide the bytes of a shard."""
    return plan.versions() | {name: metadata.version(name) for name in ("keras", "pyarrow", "tensorflow")}
