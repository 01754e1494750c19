"""Compare several cross-validations of one dataset: accuracy, differences and cost, in a table and a picture.

python -m trainer.compare --job_dirs=CV1,CV2,... --output_dir=DIR [--leave_out=FILE] [--against=NAME] ...

Each CV is what python -m trainer.cross_validate has left, all of the same dataset. Every model of each is an entry,
named by the model, and by the recipe and the flags where these differ ("black_box, modern"). DIR then holds

  compare.md       a table of the entries with what they cost, a table of their differences, both with 95 % intervals
                   over groups (artists) on the same draws
  compare.json     the same, unrounded
  compare.png      accuracy against cost: the core seconds of a training, or the parameters where one was not measured

--leave_out names tracks, one track_id a line, that are not scored: those on which recipes or models were chosen.
Nothing that was predicted of them enters any figure; where it names some of an artist's tracks and not all, the tables
warn. Tracks that some entry has no patch of are not scored either.

Unless --predictions=false is given, the model of each entry's first seed and fold is timed on this machine, which needs
its job directory to be there and takes some seconds; the machine should have nothing else to do.
"""

import json
import shlex
from pathlib import Path

from absl import flags

from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from trainer import job_store, training_job
from trainer.evaluation.comparison import ExcludedTracks, check_against, compare_entries, leaking_groups, scored
from trainer.evaluation.entries import entries_of, load_all
from trainer.reports import tables

TABLE_FILE = "compare.md"
RESULTS_FILE = "compare.json"
PICTURE_FILE = "compare.png"

FLAGS = flags.FlagValues()
flags.DEFINE_list("job_dirs", [], "directories of cross-validations of one dataset", flag_values=FLAGS)
flags.DEFINE_string("output_dir", "", "directory for table and picture", flag_values=FLAGS)
flags.DEFINE_string("leave_out", None, "file of the track_ids that are not scored, one a line", flag_values=FLAGS)
flags.DEFINE_multi_string(
    "against",
    [],
    "name of an entry that all others are compared with; by default the first entry",
    flag_values=FLAGS,
)
flags.DEFINE_bool("predictions", True, "time predictions on this machine", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Compare, write the tables and the picture, and print the tables."""
    from trainer.reports.plots import accuracy_against_cost

    command_line.no_arguments(positional)
    if not flag_values.job_dirs or not flag_values.output_dir:
        raise UserError("--job_dirs=CV1,CV2,... and --output_dir=DIR are needed (see --help)")
    job_store.check_local(*flag_values.job_dirs, flag_values.output_dir, flag_values.leave_out)
    left_out = ExcludedTracks.read(Path(flag_values.leave_out)) if flag_values.leave_out is not None else None
    finished = load_all(map(Path, flag_values.job_dirs))
    entries = entries_of(scored(finished, left_out))
    against = check_against(entries, flag_values.against)
    leaking = leaking_groups(finished, left_out) if left_out else []
    given = [flag_values[name].serialize() for name in flag_values if flag_values[name].present]
    command = shlex.join(["python", "-m", "trainer.compare", *(word for words in given for word in words.split("\n"))])
    output_dir = Path(flag_values.output_dir)
    training_job.make_dir(output_dir, "output_dir")
    with training_job.lock_job_dir(output_dir, leftovers_after_s=3600):
        speeds: dict[str, list[float]] = {}
        if flag_values.predictions:
            command_line.import_tensorflow()
            from trainer.evaluation.entries import predictions_per_s

            speeds = predictions_per_s(entries)
        compared = compare_entries(
            entries, against=against, left_out=left_out, leaking=leaking, speeds=speeds, command=command
        )
        document = tables.comparison(compared)
        with files.atomic_write(output_dir / PICTURE_FILE) as temporary:
            temporary.write_bytes(accuracy_against_cost(compared))
        files.write_text(output_dir / TABLE_FILE, document.markdown())
        files.write_text(output_dir / RESULTS_FILE, json.dumps(compared, indent=1) + "\n")
    print(f"{document.text()}\n\ntables: {output_dir / TABLE_FILE}\npicture: {output_dir / PICTURE_FILE}")


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
