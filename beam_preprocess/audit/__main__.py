"""Audits labelled audio before it is trained on: duplicates, leaks across the split, and what is wrong with files.

python -m beam_preprocess.audit --input=DIR|GLOB|tracks.csv|music.tar.gz --output=DIR [flags] [any flag of Beam]

Input, labels, groups and split are those of `python -m beam_preprocess`, dealt by the same code: give the flags that
the dataset is made with, and the parts are its parts. The audit finds recordings that are there more than once, with
identical samples or as copies with another gain, start, rate or codec (by acoustic fingerprints); groups (artists) that
are in more than one part; files that cannot be used; and tracks that are clipped, silent, mono in several channels or
of unusual length.

A table is printed; DIR/audit.json holds all, and DIR/pairs/ pictures of the pairs that are one recording. Exit status:
0 if the split does not leak, 1 if a recording or a group is in more than one part, 2 for a mistake on the command line
or in the input.
"""

from absl import flags

from beam_preprocess.__main__ import FLAGS as JOB_FLAGS
from beam_preprocess.__main__ import SHARED_FIELDS, shared_config
from tfrecords.common import command_line
from tfrecords.common.terminal import no_warnings

# Flags of the preprocessing job, with the same meaning.
_SHARED = (
    "folds",
    "train_size",
    "valid_size",
    "split_lists",
    "split_folders",
    "seed",
    *SHARED_FIELDS,
)

FLAGS = flags.FlagValues()
flags.DEFINE_string("input", "", JOB_FLAGS["input"].help, flag_values=FLAGS)
flags.DEFINE_string("output", "", "directory of audit.json and the pictures", flag_values=FLAGS)
for _name in _SHARED:
    FLAGS[_name] = JOB_FLAGS[_name]
flags.DEFINE_integer("pictures", 20, "pairs to draw, leaks first", lower_bound=0, flag_values=FLAGS)


def main(flag_values: flags.FlagValues, beam_args: list[str]) -> int:
    """Run the audit that the flags describe, and return the exit status."""
    config = shared_config(flag_values)
    # Imported late: --help and a mistaken flag should not wait for Beam; and Beam warns of parts that are not needed.
    with no_warnings():
        from beam_preprocess.audit import job, report
    audit = job.run(config, beam_args=beam_args, own_flags=list(flag_values), max_pictures=flag_values.pictures)
    print(report.describe(audit))
    return int(any(audit["leaks"].values()))


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__, pass_through=True)
