"""Exports a trained model as a SavedModel: audio in, probabilities out, without this project.

python -m trainer.export --job_dir=JOB --export_dir=DIR [--overwrite]

DIR is opened by tf.saved_model.load and by TensorFlow Serving. Its signatures, each with labels [labels] (strings)
beside the probabilities:

  serving_default   waveform [samples] float32, mono, at the model's rate     -> probabilities [labels]
  batch             waveforms [n, samples], of one length                     -> probabilities [n, labels]
  patches           patches [n, frames, mel_bands, 1], log-mel as in the
                    shards: the normalisation is the model's                  -> probabilities [n, labels]
  wav_bytes         a WAV file's bytes: 16-bit, any channels, at that rate    -> probabilities [labels]
  log_mel           waveform [samples]                                        -> log_mel [frames, mel_bands]

The probabilities are those of trainer.predict. What is shorter than a patch, not finite or at another rate is an
InvalidArgumentError that says so. Beside it lie export.json (labels, rate, front end, normalisation) and model.keras,
which takes normalised patches.
"""

import os
from pathlib import Path

from absl import flags

from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from trainer.serving.export_dir import check_free, export
from trainer.training.resume import tell_unfinished
from trainer.training_job import TrainingJob

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", "", "directory of the training job", flag_values=FLAGS)
flags.DEFINE_string("export_dir", "", "directory for the exported model", flag_values=FLAGS)
flags.DEFINE_bool("overwrite", False, "replace the exported model that is there", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Exports, and says what and where."""
    command_line.no_arguments(positional)
    if not flag_values.job_dir or not flag_values.export_dir:
        raise UserError("--job_dir=JOB and --export_dir=DIR are needed (see --help)")
    export_dir = Path(flag_values.export_dir)
    check_free(export_dir, overwrite=flag_values.overwrite)
    # Before Keras is imported, and whatever the job was trained on: a SavedModel is TensorFlow's.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    job_dir = Path(flag_values.job_dir)
    tell_unfinished(TrainingJob.load(job_dir), job_dir)
    export(job_dir, export_dir)
    print(f"exported: {export_dir} (signatures: python -m trainer.export --help)")
    if "[" in str(export_dir.absolute()):
        # Its reader of variables takes the path for a glob.
        print(
            "warning: TensorFlow cannot load a model by a path that has a [ in it; move it, or name it from below that"
        )


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
