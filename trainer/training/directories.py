"""The directories that a training writes to: those of its flags, or else those that Vertex AI names."""

import dataclasses
import os
from pathlib import Path

from absl import flags

from tfrecords.common.command_line import UserError
from trainer import job_store

# Vertex AI sets these for a job that has a baseOutputDirectory.
MODEL_DIR, CHECKPOINT_DIR, LOG_DIR = "AIP_MODEL_DIR", "AIP_CHECKPOINT_DIR", "AIP_TENSORBOARD_LOG_DIR"


def define_flags(flag_values: flags.FlagValues) -> None:
    """Define a flag for each directory."""
    for name, words in (
        ("job_dir", f"directory for the model, its history and logs; by default ${CHECKPOINT_DIR}"),
        (
            "export_dir",
            "directory for the trained model as python -m trainer.export writes it, in the place of one that is there; "
            f"by default ${MODEL_DIR}, and none without",
        ),
        (
            "logs_dir",
            f"another directory for TensorBoard's logs, which are in JOB/logs; by default ${LOG_DIR}, and none without",
        ),
    ):
        flags.DEFINE_string(name, "", words, flag_values=flag_values)


@dataclasses.dataclass(frozen=True)
class Directories:
    """The directories that a command writes to.

    Attributes:
      job_dir: of the job.
      export_dir: of the exported model; empty: none is exported.
      logs_dir: to which TensorBoard's logs are copied; empty: nowhere.
    """

    job_dir: str
    export_dir: str
    logs_dir: str

    @classmethod
    def of(cls, flag_values: flags.FlagValues) -> "Directories":
        """Return those of a command line, or else of the environment, as Vertex AI sets it."""
        variables = {"job_dir": CHECKPOINT_DIR, "export_dir": MODEL_DIR, "logs_dir": LOG_DIR}
        return cls(**{name: flag_values[name].value or os.environ.get(each, "") for name, each in variables.items()})

    def check_export(self) -> None:
        """Raise UserError, before any training, where its model could not be exported."""
        if not self.export_dir:
            return
        if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
            raise UserError("`export_dir` needs TensorFlow; train by JAX without, then give python -m trainer.export")
        from trainer.serving.export_dir import check_replaceable

        with job_store.opened(self.export_dir) as export_dir:
            check_replaceable(export_dir, overwrite=True)

    def export(self, job_dir: Path) -> None:
        """Export the trained model.

        Raises:
          UserError: as `trainer.serving.export_dir.export`.
        """
        from trainer.serving.export_dir import check_replaceable, export

        with job_store.opened(self.export_dir, locks=True) as export_dir:
            check_replaceable(export_dir, overwrite=True)
            export(job_dir, export_dir)
            print(f"exported: {job_store.shown(export_dir)}", flush=True)
