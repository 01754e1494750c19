"""Export a trained model as a SavedModel: audio in, probabilities out, without this project.

python -m trainer.export --job_dir=JOB | --model=musicnn --export_dir=DIR [--overwrite]

DIR is opened by tf.saved_model.load and by TensorFlow Serving. Its signatures, each of which gives labels [labels]
(strings) beside the probabilities:

  serving_default   waveform [samples] float32, mono, at the model's rate     -> probabilities [labels]
  batch             waveforms [n, samples], all of one length                 -> probabilities [n, labels]
  patches           patches [n, frames, mel_bands, 1], log-mel as in the
                    shards; the model normalises them                         -> probabilities [n, labels]
  wav_bytes         a WAV file's bytes: 16-bit, any channels, at that rate    -> probabilities [labels]
  log_mel           waveform [samples]                                        -> log_mel [frames, mel_bands]

Of a job with --patch_mode=resize, `patches` takes whole clips that are already resized to patch_frames (half-pixel
bilinear, as by tf.image.resize), and no audio of one sample or more is too short.

The probabilities are those of trainer.predict. Audio that is shorter than a patch, not finite or at another rate is an
InvalidArgumentError that says so. DIR also holds export.json (labels, rate, front end, normalisation) and model.keras,
which takes normalised patches.
"""

import os

from absl import flags

from tfrecords import storage
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from trainer import job_store
from trainer.serving.export_dir import check_replaceable, export, export_model
from trainer.serving.recognizer import Recognizer, check_source
from trainer.training.resume import tell_unfinished
from trainer.training_job import TrainingJob

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", "", "directory of the training job", flag_values=FLAGS)
flags.DEFINE_string("model", "", "musicnn: export the published network, which names tags", flag_values=FLAGS)
flags.DEFINE_string("export_dir", "", "directory for the exported model", flag_values=FLAGS)
flags.DEFINE_bool("overwrite", False, "replace an exported model", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Export the model and print where it is."""
    command_line.no_arguments(positional)
    if not flag_values.export_dir:
        raise UserError("--job_dir=JOB and --export_dir=DIR are needed (see --help)")
    check_source(flag_values.job_dir, flag_values.model)
    # Before Keras is imported, and whatever backend the job was trained on: a SavedModel needs TensorFlow.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with job_store.opened(flag_values.export_dir, locks=True) as export_dir:
        check_replaceable(export_dir, overwrite=flag_values.overwrite)
        if flag_values.model:
            export_model(Recognizer.published(), export_dir)
        else:
            with job_store.opened(flag_values.job_dir) as job_dir:
                job = TrainingJob.load(job_dir)
                tell_unfinished(job, job_dir)
                export(job_dir, export_dir, job)
        shown = job_store.shown(export_dir)
    print(f"exported: {shown} (signatures: python -m trainer.export --help)")
    if not storage.is_remote(shown) and "[" in str(export_dir.absolute()):
        # TensorFlow's reader of variables takes the path for a glob pattern.
        print(
            "warning: TensorFlow cannot load a model from a path with a [ in it; move it, or load it by a relative path"
        )


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
