"""Fetches GTZAN (Tzanetakis and Cook 2002, 1.2 GB), checks it, and writes a list of its tracks with their artists.

    python -m beam_preprocess.gtzan --output=DIR [--mirror=URL] [--from=FILE|DIR]

Writes DIR/blues/blues.00000.au and so on, and DIR/tracks.csv (path, genre, artist, title, group), from which
`python -m beam_preprocess --input=DIR/tracks.csv --output=OUT --folds=5` makes folds that tear no artist and no song.

An interrupted download resumes when the command is run again. --from takes a copy that you already have: the archive,
or a folder with the clips anywhere below it, .au or .wav (genres_original/blues/blues.00000.wav).
"""

import shlex
from pathlib import Path

from absl import flags

from tfrecords.common import command_line
from tfrecords.common.command_line import UserError

ARCHIVE = "genres.tar.gz"
# As torchaudio and mirdata publish it.
ARCHIVE_MD5 = "5b3d6dddb579ab49814ab86dba69e7c7"
# The second is where the set was first published; it has not answered for years.
MIRRORS = (
    "https://huggingface.co/datasets/marsyas/gtzan/resolve/main/data/genres.tar.gz",
    "http://opihi.cs.uvic.ca/sound/genres.tar.gz",
)

FLAGS = flags.FlagValues()
flags.DEFINE_string("output", "", "directory for the audio and tracks.csv", flag_values=FLAGS)
flags.DEFINE_multi_string(
    "mirror", None, f"address of {ARCHIVE}, instead of the built-in ones; may be given several times", flag_values=FLAGS
)
flags.DEFINE_string("from", None, "an archive or a folder of this machine, instead of a download", flag_values=FLAGS)
flags.DEFINE_integer("max_archive_bytes", 5 * 10**9, "refuse an archive that unpacks to more", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Fetch what is missing, check everything, and print the next command."""
    command_line.no_arguments(positional)
    if not flag_values.output:
        raise UserError("--output=DIR is needed (see --help)")
    if "://" in flag_values.output:
        raise UserError(f"--output must be a local directory, got {flag_values.output!r}")
    if flag_values.max_archive_bytes < 1:
        raise UserError(f"--max_archive_bytes must be at least 1, got {flag_values.max_archive_bytes}")
    given = flag_values["from"].value
    if given == "":
        raise UserError("--from must name an archive or a folder")
    if given is not None and flag_values.mirror:
        raise UserError("--from and --mirror exclude each other")
    # Imported late: --help and a mistaken flag should not wait for Beam, through whose file systems archives are read.
    from beam_preprocess.gtzan import download, facts

    output = Path(flag_values.output)
    download.fetch(
        output,
        source=None if given is None else Path(given),
        mirrors=flag_values.mirror or MIRRORS,
        archive=ARCHIVE,
        md5=ARCHIVE_MD5,
        max_archive_bytes=flag_values.max_archive_bytes,
    )
    tracks = shlex.quote(str(output / facts.TABLE))
    print("next, folds that keep every artist and every song together:")
    print(f"  python -m beam_preprocess --input={tracks} --output=DATA --name=gtzan --folds=5")
    print("or the published fault-filtered split, on which results can be compared:")
    print(f"  python -m beam_preprocess --input={tracks} --output=DATA --name=gtzan --split_lists=gtzan_filtered")


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
