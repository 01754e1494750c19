"""One shard of predictions from its tracks: read, decode, transform, classify in batches, and write as Parquet."""

import dataclasses
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import numpy as np
from apache_beam.utils import shared

from beam_predict.model import BATCH, ModelFacts, Network, load_network
from beam_predict.rows import TrackPrediction, as_parquet, name_track
from beam_preprocess.audio import Reject
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.audio.measure import TrackMeasure
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.plan import ShardPlan
from beam_preprocess.shards import MakeShard, Rejected, ShardFile, Stopwatch, read_track
from beam_preprocess.storage import OutputError
from tfrecords.common import json_data
from tfrecords.common.command_line import UserError
from trainer.serving.recognizer import SILENT, note_of, patch_spans, resize

# Confidence is counted in so many equal steps from 0 to 1.
CONFIDENCE_STEPS = 20


@dataclasses.dataclass(frozen=True)
class PredictedShard:
    """What a worker reports of a shard of predictions; all but the rejects is small, whatever the number of tracks.

    Attributes:
      fingerprint: of the shard's plan.
      shard: the file.
      num_tracks: tracks that could be heard; silent ones, too.
      rejects: inputs that cannot be used.
      labels: label -> tracks that were given it.
      probability: label -> sum of the probabilities of these.
      confidence: label -> how many of these have a probability in each of CONFIDENCE_STEPS steps.
      notes: note ("silent", "channels cancel") -> tracks.
      audio_s: seconds of audio of the tracks.
      work_s: activity -> seconds of the worker's time.
    """

    fingerprint: str
    shard: ShardFile
    num_tracks: int
    rejects: tuple[Rejected, ...]
    labels: Mapping[str, int]
    probability: Mapping[str, float]
    confidence: Mapping[str, tuple[int, ...]]
    notes: Mapping[str, int]
    audio_s: float
    work_s: Mapping[str, float]

    def to_json(self) -> str:
        """Return one line of ASCII."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "PredictedShard":
        """Return the result that `to_json` wrote.

        Raises:
          ValueError: the text is something else.
        """
        return json_data.build(cls, json_data.parse(text))


class WritePredictions(MakeShard):
    """ShardPlan as JSON -> PredictedShard: the tracks' genres as a Parquet file.

    A worker's process has one model, which its threads share, and loads it when it has something to classify.

    Args:
      config: of the job.
      front_end: of the model, built once by the launcher.
      facts: of the model.
      embedding: whether to write embeddings.
    """

    def __init__(self, config: JobConfig, front_end: FrontEnd, facts: ModelFacts, *, embedding: bool) -> None:
        super().__init__(config.output, PredictedShard)
        self._config = config
        self._front_end = front_end
        self._facts = facts
        self._embedding = embedding
        self._shared = shared.Shared()

    def write(self, plan: ShardPlan, file: IO[bytes]) -> PredictedShard:
        """Write a row for each of a shard's tracks, in order; one that cannot be used has a reason in its row."""
        stopwatch = Stopwatch("write")
        rows = {track.track_id: TrackPrediction(track.track_id) for track in plan.tracks}
        patches = self._patches(plan.tracks, rows, stopwatch)
        for row, outputs in stopwatch.iterate("model", self._classify(patches)):
            row.add(outputs)
        for row in rows.values():
            if row.outputs:
                self._judge(row)
        data = as_parquet(list(rows.values()), self._facts, embedding=self._embedding)
        file.write(data)
        rejects = [Rejected.of(track, found) for track in plan.tracks if (found := rows[track.track_id].reject)]
        good = [row for row in rows.values() if not row.reject]
        return PredictedShard(
            fingerprint=plan.fingerprint,
            shard=ShardFile(plan.file, len(rows), len(data), hashlib.sha256(data).hexdigest()),
            num_tracks=len(good),
            rejects=tuple(rejects),
            **count_labels(good, self._facts),
            notes=dict(sorted(Counter(row.note for row in good if row.note).items())),
            audio_s=sum(row.duration_s or 0.0 for row in good),
            work_s=stopwatch.stop(),
        )

    def _patches(
        self, tracks: Iterable[Track], rows: Mapping[str, TrackPrediction], stopwatch: Stopwatch
    ) -> Iterator[tuple[TrackPrediction, np.ndarray]]:
        """Yield each track's row and patches, [patches, frames, mel_bands] float32, and fill in what else is known."""
        facts = self._facts
        for track in tracks:
            row = rows[track.track_id]
            try:
                log_mel = self._listen(track, row, stopwatch)
            except Reject as reject:
                row.reject = reject
                continue
            # A silent track has no patches: the model would name a genre, but at random.
            if row.note != SILENT:
                spans = patch_spans(len(log_mel), facts.patch_frames, resizes=facts.resizes)
                cut = [log_mel[first : first + length] for first, length in spans]
                yield row, np.stack([resize(piece, facts.patch_frames) for piece in cut] if facts.resizes else cut)

    def _listen(self, track: Track, row: TrackPrediction, stopwatch: Stopwatch) -> np.ndarray:
        """Return a track's log-mel, [frames, mel_bands] float32.

        Raises:
          Reject: it cannot be used.
        """
        measure, samples = TrackMeasure(), 0

        def count(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
            nonlocal samples
            for block in blocks:
                samples += len(block)
                yield block

        rate = self._front_end.config.sample_rate
        waveform = read_track(
            track,
            sample_rate=rate,
            min_samples=max(1, self._front_end.min_samples(self._config.min_frames)),
            max_duration_s=self._config.max_duration_s,
            observe=measure,
        )
        blocks = count(stopwatch.iterate("decode", waveform))
        log_mel = np.concatenate(list(stopwatch.iterate("transform", self._front_end.stream(blocks))))
        if not patch_spans(len(log_mel), self._facts.patch_frames, resizes=self._facts.resizes):
            raise Reject("too_short", f"no piece of it holds a patch of {self._facts.patch_frames} frames")
        row.duration_s, row.note = samples / rate, note_of(measure.sound())
        return log_mel

    def _classify(
        self, patches: Iterable[tuple[TrackPrediction, np.ndarray]]
    ) -> Iterator[tuple[TrackPrediction, list[np.ndarray]]]:
        """Yield each track's row and the network's outputs for some of its patches; several tracks share a batch."""
        for batch in _batches(patches):
            outputs = self._network()(np.concatenate([own for _, own in batch]))
            ends = np.cumsum([len(own) for _, own in batch])[:-1]
            of_rows = zip(*(np.split(values, ends) for values in outputs), strict=True)
            for (row, _), own in zip(batch, of_rows, strict=True):
                yield row, list(own)

    def _judge(self, row: TrackPrediction) -> None:
        """Reject a track whose probabilities are no numbers; find out what those of another one are worth."""
        if not np.isfinite(row.outputs[0]).all():
            row.reject = Reject("not_finite", "the model's answer is no number")
        elif self._facts.confidence is not None:
            distance = None
            if self._facts.measures_distance:
                distance = self._network().distance(row.outputs[1] / row.patches, row.patches)
            row.answer = self._facts.confidence.apply(row.means[0], distance)

    def _network(self) -> Network:
        def load() -> Network:
            try:
                return load_network(self._facts, embedding=self._embedding)
            except UserError as error:
                raise OutputError.of(f"`model_dir={self._facts.location}` cannot be used", error) from error

        return self._shared.acquire(load, tag=self._facts.fingerprint)


def _batches(
    patches: Iterable[tuple[TrackPrediction, np.ndarray]],
) -> Iterator[list[tuple[TrackPrediction, np.ndarray]]]:
    """Yield the patches in batches of BATCH, the last one of what is left."""
    batch: list[tuple[TrackPrediction, np.ndarray]] = []
    room = BATCH
    for row, own in patches:
        while len(own):
            batch.append((row, own[:room]))
            own = own[room:]
            room -= len(batch[-1][1])
            if not room:
                yield batch
                batch, room = [], BATCH
    if batch:
        yield batch


def count_labels(rows: Iterable[TrackPrediction], facts: ModelFacts) -> dict[str, Any]:
    """Return `labels`, `probability` and `confidence` of a PredictedShard."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        if named := name_track(row, facts):
            found[named[0]].append(named[1])
    steps = np.linspace(0, 1, CONFIDENCE_STEPS + 1)
    return {
        "labels": {label: len(values) for label, values in sorted(found.items())},
        "probability": {label: sum(values) for label, values in sorted(found.items())},
        "confidence": {
            label: tuple(np.histogram(np.clip(values, 0, 1), steps)[0].tolist())
            for label, values in sorted(found.items())
        },
    }
