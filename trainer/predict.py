"""Names the genre of audio files by a trained model.

python -m trainer.predict --job_dir=JOB [--json] [--png=FILE|DIR] FILE|FOLDER ...

For each file, in the order given: the genre, the probability of every label, and how they go over time, one column (one
entry with --json) for each patch that the model hears. Any format, rate and channel count that preprocessing reads. A
folder stands for all audio in it and in its folders. A silent file has no genre; one whose channels cancel, so that
hardly any of it is heard, has one, with a note. Neither is an error; with --json, "note" is "silent", "channels cancel"
or, of all other files, null.

A file that cannot be used (unreadable, undecodable, unsupported_format, truncated, unsupported_rate, not_finite, empty,
too_short: shorter than a patch, too_long) is one line on standard error and, with --json, one with path, reason and
detail among the others. A picture that cannot be written is one line on standard error. Either way the rest is done,
and the exit status is 1.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from beam_preprocess.audio import Reject
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from trainer.serving.answers import Pictures
from trainer.serving.files import InputFile, ProgressLine, list_inputs, recognize_all
from trainer.serving.recognizer import MAX_DURATION_S, Recognition, Recognizer
from trainer.training.resume import tell_unfinished
from trainer.training_job import TrainingJob

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", "", "directory of the training job", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "a JSON object a line instead of text", flag_values=FLAGS)
flags.DEFINE_string(
    "png", None, "picture of spectrogram and genres over time: a .png for one file, else a folder", flag_values=FLAGS
)
flags.DEFINE_float("max_duration_s", MAX_DURATION_S, "reject longer audio (6 hours)", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Answers for every file; the exit status says whether all could be used."""
    if not flag_values.job_dir or not positional:
        raise UserError("--job_dir=JOB and one or more files or folders are needed (see --help)")
    if not flag_values.max_duration_s > 0:
        raise UserError(f"--max_duration_s must be above 0, got {flag_values.max_duration_s:g}")
    if flag_values.png == "":
        raise UserError("--png must name a file that ends with .png, or a folder")
    job_dir = Path(flag_values.job_dir)
    tell_unfinished(TrainingJob.load(job_dir), job_dir)
    files = list_inputs(positional)
    pictures = Pictures(flag_values.png, len(files)) if flag_values.png is not None else None
    return predict(
        Recognizer.load(job_dir),
        files,
        as_json=flag_values.json,
        pictures=pictures,
        max_duration_s=flag_values.max_duration_s,
    )


def predict(
    recognizer: Recognizer,
    files: Sequence[InputFile],
    *,
    as_json: bool = False,
    pictures: Pictures | None = None,
    max_duration_s: float = MAX_DURATION_S,
) -> int:
    """Prints what a model says of files, each as soon as it is known.

    Returns:
      The exit status: 1 if any file could not be used or any picture not be written, else 0.
    """
    from tfrecords.plots import printable

    progress = ProgressLine(len(files))
    status = 0
    for path, answer in recognize_all(recognizer, files, max_duration_s=max_duration_s):
        progress.clear()
        if isinstance(answer, Reject):
            status = 1
            print(f"{printable(path)}: {answer.reason}: {answer.detail}", file=sys.stderr, flush=True)
        _print(path, answer, as_json=as_json)
        if pictures is not None and isinstance(answer, Recognition):
            try:
                _draw(pictures, path, answer)
            except UserError as error:
                status = 1
                print(printable(str(error)), file=sys.stderr, flush=True)
        progress.add(answer.duration_s if isinstance(answer, Recognition) else 0.0)
    progress.clear()
    return status


def _print(path: str, answer: Recognition | Reject, *, as_json: bool) -> None:
    from tfrecords.plots import printable
    from trainer.serving import answers

    if isinstance(answer, Recognition):
        encoding = sys.stdout.encoding or "ascii"
        text = answers.as_json(path, answer) if as_json else answers.as_text(printable(path), answer, encoding=encoding)
    elif as_json:
        text = answers.reject_as_json(path, answer)
    else:
        return
    # One call: on a terminal a file's lines stay together.
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _draw(pictures: Pictures, path: str, recognition: Recognition) -> None:
    from trainer.serving.timeline_plot import timeline_png

    pictures.write(path, timeline_png(os.path.basename(path), recognition))  # noqa: PTH119


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
