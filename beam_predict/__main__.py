"""Names every track of a collection with a trained model, as an Apache Beam job.

python -m beam_predict --input=DIR|GLOB|tracks.csv|music.tar.gz --output=OUT --model_dir=JOB|EXPORT [flags]
    [any flag of Beam]

The input is any that `python -m beam_preprocess` reads; a .csv needs no other column than path. JOB is the directory of
a training, EXPORT that of trainer.export. Each may be a URL.

OUT/predictions-00000-of-000NN.parquet have a row for each track, in the order of their paths: track, label (the most
probable genre), probability, p_GENRE for every genre, entropy (bits), duration_s, note ("silent": no genre; "channels
cancel"), and, where it cannot be named, reject_reason and reject_detail; with --embedding also embedding.
OUT/predictions.json sums them up and is written last; OUT/report.html shows it. To resume an interrupted job, run the
same command again. The same input and model give the same bytes on every engine, on one kind of machine.
"""

from absl import flags

from beam_predict.config import PredictConfig
from beam_preprocess.__main__ import FLAGS as JOB_FLAGS
from tfrecords import storage
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import no_warnings

# Flags of the preprocessing job, with the same meaning.
_SHARED = ("input", "num_shards", "max_duration_s", "max_archive_bytes")

FLAGS = flags.FlagValues()
for _name in _SHARED:
    FLAGS[_name] = JOB_FLAGS[_name]
flags.DEFINE_string("output", "", "directory of the predictions", flag_values=FLAGS)
flags.DEFINE_string("model_dir", "", "directory of a trained job or of an exported model", flag_values=FLAGS)
flags.DEFINE_bool("embedding", False, "write the embedding of each track, too", flag_values=FLAGS)
flags.DEFINE_float(
    "max_reject_fraction", 1.0, "fail if a larger share of the tracks cannot be used, 0 to 1", flag_values=FLAGS
)
flags.DEFINE_bool("overwrite", False, "start over if the output holds predictions", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, beam_args: list[str]) -> None:
    """Run the job that the flags describe."""
    if not (flag_values.input and flag_values.output and flag_values.model_dir):
        raise UserError(
            "--input=DIR|GLOB|tracks.csv|music.tar.gz, --output=DIR and --model_dir=JOB|EXPORT are needed (see --help)"
        )
    config = PredictConfig(
        source=storage.plain(flag_values.input),
        output=storage.plain(flag_values.output).rstrip("/") or flag_values.output,
        model_dir=storage.plain(flag_values.model_dir),
        embedding=flag_values.embedding,
        num_shards=flag_values.num_shards,
        max_duration_s=flag_values.max_duration_s,
        max_reject_fraction=flag_values.max_reject_fraction,
        max_archive_bytes=flag_values.max_archive_bytes,
    )
    # Imported here so that --help and errors in flags do not wait for Beam, which also warns of unused parts.
    with no_warnings():
        from beam_predict import job
    job.run(config, beam_args=beam_args, own_flags=list(flag_values), overwrite=flag_values.overwrite)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__, pass_through=True)
