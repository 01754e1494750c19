"""The launcher of a job that names a collection: as of the preprocessing job, with predictions instead of records."""

import functools
import json
import re
import time
from collections.abc import Iterable, Sequence

import apache_beam as beam

from beam_predict.config import PredictConfig
from beam_predict.model import BATCH, ModelFacts
from beam_predict.predictions import FORMAT_VERSION, REPORT_FILE, Predictions, PredictionsSpec, WriteSummary, versions
from beam_predict.write_predictions import PredictedShard, WritePredictions
from beam_preprocess import engine, finish, storage, summary
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track, absolute
from beam_preprocess.launch import PREDICTIONS_FILE, Kind, Launch, list_input
from beam_preprocess.pipeline import finish_job, make_shards
from beam_preprocess.plan import Plan, ShardPlan, cut, digest
from tfrecords.common.terminal import align_columns, log, printable

_PART = "predictions"
_SHARD_NAME = re.compile(r"predictions-\d{5}-of-\d{5}\.parquet")


def run(
    config: PredictConfig, *, beam_args: Sequence[str] = (), own_flags: Iterable[str] = (), overwrite: bool = False
) -> Predictions | None:
    """Name every track of a collection.

    Args:
      config: the job.
      beam_args: command line arguments for Beam.
      own_flags: names of our own flags, to suggest one for a misspelt flag.
      overwrite: start over if the output holds predictions.

    Returns:
      What predictions.json holds; None if Dataflow runs the job later, from a template.

    Raises:
      UserError: bad input, output or model, another job writes to the output, too many rejects.

    Example::

      from beam_predict import PredictConfig, run

      found = run(PredictConfig(source="music", output="OUT", model_dir="JOB"))
      print(found.named, found.rejects)
    """
    began = time.monotonic()
    options = engine.parse_options(beam_args, own_flags=own_flags)
    facts = ModelFacts.read(absolute(config.model_dir))
    job = config.job(facts.front_end, facts.min_frames)
    front_end = FrontEnd(job.front_end)
    tracks = list_input(job)
    engine.check_reach(options, job.output, tracks, facts.location)
    plan = make_plan(config, job, facts, tracks)
    log(f"{job.source}: {plan.num_tracks} tracks, {len(plan.shards)} shards, {len(facts.labels)} labels")
    build = functools.partial(build_pipeline, plan=plan, facts=facts, front_end=front_end, embedding=config.embedding)
    begun = Launch(job, tracks, plan, PREDICTIONS, PredictedShard, build)
    found, was_there = begun.run(options, overwrite=overwrite)
    if found is not None and not was_there:
        _log_outcome(job, found, time.monotonic() - began)
    return found


def make_plan(config: PredictConfig, job: JobConfig, facts: ModelFacts, tracks: Sequence[Track]) -> Plan:
    """Divide the tracks into shards, in the order of their names."""
    configuration = digest([FORMAT_VERSION, versions(), facts.fingerprint, config.embedding, BATCH])
    pieces = cut(tracks, total=len(tracks), num_shards=config.num_shards)
    shards = []
    for index, piece in enumerate(pieces):
        file = f"{_PART}-{index:05d}-of-{len(pieces):05d}.parquet"
        identity = [(track.track_id, track.size) for track in piece]
        shards.append(ShardPlan(_PART, file, piece, digest([configuration, job.max_duration_s, file, identity])))
    fingerprint = digest([configuration, [shard.fingerprint for shard in shards]])
    return Plan(facts.labels, (_PART,), tuple(shards), {}, configuration, fingerprint)


def build_pipeline(
    pipeline: beam.Pipeline, job: JobConfig, *, plan: Plan, facts: ModelFacts, front_end: FrontEnd, embedding: bool
) -> beam.PCollection:
    """Add the job's stages to a pipeline. Only plans and results pass between them.

    Args:
      pipeline: to add to.
      job: what the job has in common with the preprocessing job.
      plan: of the job.
      facts: of the model.
      front_end: of the model, built once by the launcher.
      embedding: whether to write embeddings.

    Returns:
      A collection of one element: the path of predictions.json, as bytes.
    """
    spec = PredictionsSpec(job, facts, embedding, len(plan.shards), plan.num_tracks, plan.fingerprint)
    written = make_shards(pipeline, job.output, WritePredictions(job, front_end, facts, embedding=embedding))
    return finish_job(written, WriteSummary(spec))


def _log_outcome(job: JobConfig, found: Predictions, elapsed_s: float) -> None:
    """Log where the time went, and the genres of the collection."""
    with storage.open_file(storage.join(job.output, finish.METRICS_FILE)) as file:
        log(summary.time_table(json.load(file)))
    counts = sorted(found.named.items(), key=lambda item: (-item[1], item[0]))
    log(align_columns([["genre", "tracks"], *([printable(label), str(tracks)] for label, tracks in counts)]))
    rejects = sum(found.rejects.values())
    log(
        f"named {sum(found.named.values())} tracks ({found.audio_s / 3600:.2f} hours) in {elapsed_s:.1f} s, "
        f"{found.audio_s / elapsed_s:,.0f} times real time; {rejects} rejected"
        + (f": see {storage.join(job.output, finish.REJECTS_FILE)}" if rejects else "")
    )
    log(f"report: {storage.join(job.output, REPORT_FILE)}")


PREDICTIONS = Kind(
    noun="collection's predictions",
    last_file=PREDICTIONS_FILE,
    other_files=(finish.METRICS_FILE, REPORT_FILE),
    shard_name=_SHARD_NAME,
    load=Predictions.load,
    shards_in=lambda found: [shard.file for shard in found.shards],
)
