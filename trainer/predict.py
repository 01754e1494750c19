"""Name the genre of audio files with a trained model.

python -m trainer.predict --job_dir=JOB | --model=musicnn [--json] [--png=FILE|DIR] FILE|FOLDER ...

For each file, in the order given: the genre, the probability of every label, and how they change over time, in columns
of one or more patches (with --json: an entry for each patch). Any format, sample rate and channel count that
preprocessing reads. A folder stands for all audio in it and in its subfolders. A silent file has no genre; one whose
channels cancel, so that next to nothing is left in their mean, has one, with a note. Neither is an error; with --json,
"note" is "silent", "channels cancel" or null.

A job that has confidence.json also says what an answer is worth: "rock or pop" is a set that was meant to hold the
genre in 90 % of cases, "not sure" an answer of a kind that is too often wrong, and "unlike the training music" one of
which the genre means little. Its probabilities are calibrated. With --json, "confidence" has all of it; "probabilities"
are always the model's own. Jobs that an earlier version trained, or that were trained without validation
(--recipe=augmented), have no such file and name the most probable genre.

--model=musicnn needs no training: it is the published network of Pons and Serra (2019), which gives 50 tags, each with
a probability of its own. Those that are genres are marked with a star, and the most probable of them is the file's
genre. Its weights are to be installed: pip install --no-deps musicnn==0.1.0

A file that cannot be used (unreadable, undecodable, unsupported_format, truncated, unsupported_rate, not_finite, empty,
too_short: shorter than a patch, too_long) is one line on standard error and, with --json, also an object with path,
reason and detail. For a model trained with --patch_mode=resize, nothing of one sample or more is too_short. A picture
that cannot be written is one line on standard error. In both cases the other files are still done, and the exit status
is 1.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from beam_preprocess.audio import Reject
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.common.files import MAX_NAME_BYTES, atomic_write, shorten_name
from tfrecords.common.terminal import printable
from trainer import job_store, training_job
from trainer.serving import answers
from trainer.serving.files import InputFile, list_inputs, recognize_with_progress
from trainer.serving.recognizer import MAX_DURATION_S, Recognition, Recognizer, check_source, load_recognizer

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", "", "directory of the training job", flag_values=FLAGS)
flags.DEFINE_string("model", "", "musicnn: name tags with the published network, without a job", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print a line of JSON for each file instead of text", flag_values=FLAGS)
flags.DEFINE_string(
    "png", None, "picture of spectrogram and genres over time: a .png for one file, else a folder", flag_values=FLAGS
)
flags.DEFINE_float("max_duration_s", MAX_DURATION_S, "reject longer audio (6 hours)", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Recognize the files; the exit status says whether all could be used."""
    if not positional:
        raise UserError("--job_dir=JOB and one or more files or folders are needed (see --help)")
    check_source(flag_values.job_dir, flag_values.model)
    if not flag_values.max_duration_s > 0:
        raise UserError(f"--max_duration_s must be above 0, got {flag_values.max_duration_s:g}")
    if flag_values.png == "":
        raise UserError("--png must name a file that ends with .png, or a folder")
    job_store.check_local(flag_values.png)
    recognizer = load_recognizer(flag_values.job_dir, flag_values.model)
    files = list_inputs(positional)
    pictures = Pictures(flag_values.png, len(files)) if flag_values.png is not None else None
    return predict(
        recognizer,
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
    pictures: "Pictures | None" = None,
    max_duration_s: float = MAX_DURATION_S,
) -> int:
    """Print the genre of files, each as soon as it is known, above a progress bar if there are many.

    Returns:
      The exit status: 1 if a file could not be used or a picture not be written, else 0.
    """
    status = 0
    for path, answer in recognize_with_progress(recognizer, files, max_duration_s=max_duration_s):
        if not _print(path, answer, as_json=as_json, pictures=pictures):
            status = 1
    return status


def _print(path: str, answer: Recognition | Reject, *, as_json: bool, pictures: "Pictures | None") -> bool:
    """Print one file's result and draw its picture; return whether both could be done."""
    if isinstance(answer, Reject):
        print(answers.reject_as_text(path, answer), file=sys.stderr, flush=True)
        if as_json:
            _print_lines(answers.reject_as_json(path, answer))
        return False
    if as_json:
        _print_lines(answers.as_json(path, answer))
    else:
        _print_lines(answers.as_text(printable(path), answer, encoding=sys.stdout.encoding or "ascii"))
    if pictures is not None:
        # Matplotlib is only needed here.
        from trainer.serving.timeline_plot import timeline_png

        try:
            pictures.write(path, timeline_png(Path(path).name, answer))
        except UserError as error:
            print(printable(str(error)), file=sys.stderr, flush=True)
            return False
    return True


def _print_lines(text: str) -> None:
    # In one call, so that the lines of a file stay together on a terminal.
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Pictures:
    """Where pictures are written: to NAME itself if it ends with .png, else to NAME/<name of the audio file>.png.

    Where two audio files have the same name, the second picture's name ends with -2. A name too long for the file
    system is shortened.

    Args:
      name: of the file or folder.
      count: how many pictures there will be at most.

    Raises:
      UserError: the folder cannot be made or written to, or one file is named for many pictures.
    """

    def __init__(self, name: str, count: int) -> None:
        self._path = Path(name)
        self._single = self._path.suffix.lower() == ".png" and not self._path.is_dir()
        self._used: set[str] = set()
        if self._single and count > 1:
            raise UserError(f"--png={name} is one picture, and there are {count} files; name a folder")
        folder = self._path.parent if self._single else self._path
        training_job.make_dir(folder, "png")
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(f"--png={name}: {folder} cannot be written to: {error.strerror}") from None

    def write(self, source: str, data: bytes) -> Path:
        """Write the picture of an audio file and return its path.

        Raises:
          UserError: it cannot be written.
        """
        path = self._path if self._single else self._path / self._unused_name(Path(source).stem)
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
        return path

    def _unused_name(self, stem: str) -> str:
        ending, number = ".png", 1
        # Some file systems do not distinguish upper and lower case.
        while (name := shorten_name(stem, MAX_NAME_BYTES - len(ending)) + ending).lower() in self._used:
            number += 1
            ending = f"-{number}.png"
        self._used.add(name.lower())
        return name


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
