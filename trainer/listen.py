"""Serve a page on this machine: drop an audio file, hear it, and see its genres over time.

python -m trainer.listen --job_dir=JOB | --model=musicnn [--embeddings=FILE] [--port=8000] [--max_upload_mb=100]
    [--max_duration_s=1800]

Prints the page's address and runs until Ctrl-C or SIGTERM. Only this machine can reach the page (127.0.0.1), no file is
kept, and the page loads nothing from the network. --model=musicnn names 50 tags without any training, see
trainer.predict. With --embeddings=FILE, which trainer.embed has written with the same model, the page also names the
tracks of that collection that sound most like the file.
"""

import math
import os
from typing import TYPE_CHECKING, Any

from absl import flags

from tfrecords.common import command_line, shutdown
from tfrecords.common.command_line import UserError
from trainer.serving.recognizer import MAX_DURATION_S, Recognizer, check_source, load_recognizer

if TYPE_CHECKING:
    from trainer.serving.similarity import Collection

_MEGABYTE = 1_000_000

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", "", "directory of the training job", flag_values=FLAGS)
flags.DEFINE_string("model", "", "musicnn: name tags with the published network, without a job", flag_values=FLAGS)
flags.DEFINE_string("embeddings", "", "collection in which to find similar tracks, by trainer.embed", flag_values=FLAGS)
flags.DEFINE_integer(
    "port", 8000, "port of the page; 0: any free one", lower_bound=0, upper_bound=65535, flag_values=FLAGS
)
flags.DEFINE_float(
    "max_upload_mb", 100, "largest file, in megabytes", lower_bound=0.001, upper_bound=10_000, flag_values=FLAGS
)
flags.DEFINE_float(
    "max_duration_s",
    1800,
    "longest recording, in seconds",
    lower_bound=1,
    upper_bound=MAX_DURATION_S,
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Take the port, load the model and serve the page until a signal ends the process."""
    command_line.no_arguments(positional)
    check_source(flag_values.job_dir, flag_values.model)
    upload_limits = parse_upload_limits(flag_values)
    # Imported here so that --help need not wait for it.
    from trainer.serving.web.app import App, Limits, Similar
    from trainer.serving.web.server import HOST, Server, take_port

    limits = Limits(**upload_limits)
    try:
        listener = take_port(flag_values.port)
    except OSError as error:
        # Not the error's own text, which also names the address.
        reason = os.strerror(error.errno or 0)
        raise UserError(f"--port={flag_values.port} cannot be used: {reason}; choose another, or 0 for any") from None
    with listener:
        port = listener.getsockname()[1]
        recognizer = load_recognizer(flag_values.job_dir, flag_values.model)
        similar = None
        if flag_values.embeddings:
            embedder = recognizer.with_units()
            similar = Similar(embedder, load_collection(flag_values.embeddings, embedder))
        app = App(recognizer, limits, port, facts(recognizer), similar)
        # The signal does not wait for a thread that may be decoding a long file.
        with shutdown.wait_for_signal("ended"):
            print(f"open http://{HOST}:{port}/ in a browser; Ctrl-C ends it", flush=True)
            Server(app, limits).run(sockets=[listener])


def load_collection(location: str, recognizer: Recognizer) -> "Collection":
    """Read a file of embeddings to search.

    Raises:
      UserError: it cannot be read, is empty, or was made by another model.
    """
    from trainer.serving.embeddings import Embeddings, check_origin
    from trainer.serving.similarity import Collection

    embeddings = Embeddings.read(location)
    check_origin(location, embeddings.origin, recognizer)
    return Collection(embeddings)


def parse_upload_limits(flag_values: flags.FlagValues) -> dict[str, Any]:
    """Return the bounds on a file that --max_upload_mb and --max_duration_s give, by their names in `Limits`.

    Raises:
      UserError: one is not a number.
    """
    for name in ("max_upload_mb", "max_duration_s"):
        # A NaN passes absl's bounds.
        if math.isnan(flag_values[name].value):
            raise UserError(f"--{name} must be a number, got {flag_values[name].value}")
    return {
        "upload_bytes": round(flag_values.max_upload_mb * _MEGABYTE),
        "duration_s": flag_values.max_duration_s,
    }


def facts(recognizer: Recognizer) -> dict[str, object]:
    """Return what the page shows about the model."""
    front_end = recognizer.front_end.config
    return {
        "model": recognizer.job.model,
        "labels": list(recognizer.labels),
        "kind": "genres" if recognizer.genres is None else "tags",
        "fmin_hz": front_end.fmin_hz,
        "fmax_hz": front_end.fmax_hz,
    }


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
