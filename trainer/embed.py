"""Write an embedding of each track of a collection: what a model makes of it before it names a genre.

python -m trainer.embed --job_dir=JOB | --model=musicnn --input=DIR|GLOB|tracks.csv --output=FILE [--patches]

Tracks with similar embeddings sound alike to the model: python -m trainer.similar --embeddings=FILE song.mp3 names the
nearest. An embedding is the mean, over the patches of a track, of what goes into the model's last layer. FILE is a
Parquet file (pandas.read_parquet reads it) with a row for each track:

  path              of the file
  label, group      the folder that the file is in, or the columns genre (--label_column names another) and artist of
                    the CSV; null where it has none
  duration_s        length of the audio
  embedding         float32 values, as many as the layer has units
  patch_starts_s, patch_embeddings    with --patches: where each patch begins, and its own embedding

and with the model's name, fingerprint and front end in the metadata of its schema. Input and output may be URLs (gs://,
s3://). FILE appears when all is done.

As in trainer.predict, a file that cannot be used is one line on standard error, and then the exit status is 1. A silent
file has no embedding; it is left out with a line, too, but is no error.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from beam_preprocess.audio import Reject
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import log, printable
from trainer.serving import answers
from trainer.serving.files import InputFile, recognize_with_progress
from trainer.serving.recognizer import MAX_DURATION_S, Recognizer, check_source, load_recognizer

if TYPE_CHECKING:
    from beam_preprocess.inputs.tracks import Track

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", "", "directory of the training job", flag_values=FLAGS)
flags.DEFINE_string("model", "", "musicnn: the published network, without a job", flag_values=FLAGS)
flags.DEFINE_string("input", "", "folder, glob or .csv of audio", flag_values=FLAGS)
flags.DEFINE_string("output", "", "the Parquet file to write", flag_values=FLAGS)
flags.DEFINE_bool("patches", False, "also write the embedding of each patch", flag_values=FLAGS)
flags.DEFINE_string("label_column", None, "the CSV's column of labels; by default genre", flag_values=FLAGS)
flags.DEFINE_string("group_column", None, "the CSV's column of groups; by default group, or artist", flag_values=FLAGS)
flags.DEFINE_float("max_duration_s", MAX_DURATION_S, "reject longer audio (6 hours)", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Embed the tracks; the exit status says whether all could be used."""
    command_line.no_arguments(positional)
    if not flag_values.input or not flag_values.output:
        raise UserError("--input=DIR and --output=FILE are needed (see --help)")
    check_source(flag_values.job_dir, flag_values.model)
    if not flag_values.max_duration_s > 0:
        raise UserError(f"--max_duration_s must be above 0, got {flag_values.max_duration_s:g}")
    # What lists the input of preprocessing; it needs neither Beam nor TensorFlow.
    from beam_preprocess.inputs.tracks import list_tracks

    tracks = list_tracks(
        flag_values.input,
        label_column=flag_values.label_column,
        group_column=flag_values.group_column,
        needs_labels=False,
    )
    recognizer = load_recognizer(flag_values.job_dir, flag_values.model).with_units()
    return embed(
        recognizer,
        tracks,
        flag_values.output,
        job_dir=flag_values.job_dir,
        with_patches=flag_values.patches,
        max_duration_s=flag_values.max_duration_s,
    )


def embed(
    recognizer: Recognizer,
    tracks: Sequence["Track"],
    location: str,
    *,
    job_dir: str = "",
    with_patches: bool = False,
    max_duration_s: float = MAX_DURATION_S,
) -> int:
    """Write the embeddings of tracks, with a progress bar if there are many.

    Args:
      recognizer: with units.
      tracks: whose group is its track_id where it has none.
      location: path or URL of the file.
      job_dir: that the recognizer was loaded from; empty for the published model.
      with_patches: also write the embedding of each patch.
      max_duration_s: longer audio is rejected.

    Returns:
      The exit status: 1 if a file could not be used, else 0.

    Raises:
      UserError: none could be used, or the file cannot be written.
    """
    # Arrow takes a moment to import.
    from trainer.serving import embeddings

    status = 0
    files = [InputFile(track.uri) for track in tracks]
    origin = embeddings.Origin.of(recognizer, job_dir)
    with embeddings.write(location, origin, num_units=recognizer.num_units, with_patches=with_patches) as writer:
        found = recognize_with_progress(recognizer, files, max_duration_s=max_duration_s)
        for track, (path, answer) in zip(tracks, found, strict=True):
            if isinstance(answer, Reject):
                print(answers.reject_as_text(path, answer), file=sys.stderr, flush=True)
                status = 1
            elif answer.embedding is None:
                log(f"{printable(path)}: silent: no embedding")
            else:
                group = "" if track.group == track.track_id else track.group
                writer.add(path, answer, label=track.label, group=group)
    # The file is whole only now.
    print(f"{location}: embeddings of {writer.num_tracks} tracks, {recognizer.num_units} values each")
    return status


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
