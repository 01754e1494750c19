"""What makes a training visible while it runs, in the order in which it has to be done."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras

from trainer.training.board import Board, ConfusionPicture
from trainer.training.callbacks import BestCheckpoint, SaveProgress
from trainer.training.input_wait import InputWait
from trainer.training.pace import PaceMeter
from trainer.training.profile import ProfileSteps
from trainer.training.progress_lines import ProgressLines
from trainer.training.running import Running
from trainer.training_job import CHECKPOINT_FILE, TrainingJob


@contextlib.contextmanager
def watching(
    job: TrainingJob,
    job_dir: Path,
    running: Running,
    progress: SaveProgress,
    wait: InputWait,
    *,
    steps: int,
    patches: int,
) -> Iterator[list[keras.callbacks.Callback]]:
    """Gives the callbacks, the one that saves the model to keep among them; afterwards there is no bar and no trace.

    Args:
      job: what is trained.
      job_dir: of its files.
      running: how.
      progress: saves where training stands; before these in the list of callbacks.
      wait: what the batches are read through.
      steps: in an epoch.
      patches: in an epoch.
    """
    meter = PaceMeter(progress, lambda: wait.seconds, patches=patches, batch_size=job.batch_size, steps=steps)
    validates = bool(job.parts.valid)
    lines = ProgressLines(progress, meter, epochs=job.epochs, steps=steps, validates=validates)
    board = Board(job_dir, meter, validates=validates)
    pictures = board.validation if running.pictures else None
    profile = ProfileSteps(job_dir, *running.profile_steps) if running.profile_steps else None
    try:
        yield [
            meter,
            # At once after the state: what is missing there would stay so.
            board,
            BestCheckpoint(job_dir / CHECKPOINT_FILE, job.rules, progress.history),
            lines,
            *([ConfusionPicture(job, job_dir, progress.history, pictures)] if pictures else []),
            *([profile] if profile else []),
        ]
    finally:
        lines.clear()
        if profile:
            profile.close()
