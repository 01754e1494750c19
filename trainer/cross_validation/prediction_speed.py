"""How many clips a second models name, measured here: all in turn, on arrays that lie in memory."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from tfrecords.command_line import UserError
from tfrecords.manifest import count_patches
from trainer.cross_validation.entries import Entry
from trainer.training_job import TrainingJob

CLIP_S = 30.0
_CLIPS, _ROUNDS = 64, 5
# Batches of one size, so that TensorFlow traces a model once in four calls; more often, it warns of retracing.
_BATCH_CLIPS = 16


def predictions_per_s(entries: Sequence[Entry]) -> dict[str, list[float]]:
    """Clips of 30 s a second through the model of each entry's first seed and fold.

    From normalised patches to probabilities. A clip is all its patches, as evaluation cuts them. Each model is run once
    to warm up; then come rounds, in each of which every model has its turn.

    Returns:
      Of each round, by the entries' names.

    Raises:
      UserError: a model is gone or damaged.
    """
    rounds = [_round_of(entry) for entry in entries]
    for run in rounds:
        run()
    times = [[_seconds(run) for run in rounds] for _ in range(_ROUNDS)]
    return {
        entry.name: [_CLIPS / seconds for seconds in own]
        for entry, own in zip(entries, zip(*times, strict=True), strict=True)
    }


def _round_of(entry: Entry) -> Callable[[], object]:
    from trainer.scoring.predictions import load_model

    job_dir = entry.runs()[0].job_dir(entry.finished.cv_dir)
    try:
        job, model = TrainingJob.load(job_dir), load_model(job_dir)
    except UserError as error:
        raise UserError(f"{entry.name} cannot be timed, which --nopredictions leaves out: {error}") from None
    patches_per_clip = patches_of_clip(job)
    shape = (_CLIPS * patches_per_clip, *model.input_shape[1:])
    # As normalised patches: zeros might be an easier case.
    patches = np.random.default_rng(0).standard_normal(shape, np.float32)
    return lambda: model.predict(patches, batch_size=_BATCH_CLIPS * patches_per_clip, verbose=0)


def patches_of_clip(job: TrainingJob) -> int:
    """How many patches 30 s give, at least one."""
    frames = int(CLIP_S * job.front_end["sample_rate"] / job.front_end["hop_length"])
    return max(1, count_patches(frames, patch_frames=job.patch_frames, patch_hop=job.patch_frames))


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
