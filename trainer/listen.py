"""A page on this machine: drop an audio file, hear it, and see its genres move with the sound.

python -m trainer.listen --job_dir=JOB [--port=8000] [--max_upload_mb=100] [--max_duration_s=1800]

Prints the page's address and runs until Ctrl-C or SIGTERM. Only this machine can reach it (127.0.0.1), no file is kept,
and the page asks nothing of the network.
"""

import math
from pathlib import Path

from absl import flags

from tfrecords.common import command_line, shutdown
from tfrecords.common.command_line import UserError
from trainer.serving.recognizer import Recognizer, front_end_config
from trainer.training.resume import tell_unfinished
from trainer.training_job import TrainingJob

_MEGABYTE = 1_000_000
_SIX_HOURS_S = 6 * 3600

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", "", "directory of the training job", flag_values=FLAGS)
flags.DEFINE_integer(
    "port", 8000, "of the page; 0: any that is free", lower_bound=0, upper_bound=65535, flag_values=FLAGS
)
flags.DEFINE_float(
    "max_upload_mb", 100, "largest file that is taken", lower_bound=0.001, upper_bound=10_000, flag_values=FLAGS
)
flags.DEFINE_float(
    "max_duration_s",
    1800,
    "longest recording that is taken",
    lower_bound=1,
    upper_bound=_SIX_HOURS_S,
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Takes the port, loads the model, answers until it is told to end, and ends the process."""
    command_line.no_arguments(positional)
    _check(flag_values)
    # Here, for --help need not wait for it.
    from trainer.serving.web.app import App, Limits
    from trainer.serving.web.server import HOST, Server, take_port

    upload_bytes = round(flag_values.max_upload_mb * _MEGABYTE)
    limits = Limits(upload_bytes=upload_bytes, duration_s=flag_values.max_duration_s)
    job_dir = Path(flag_values.job_dir)
    job = TrainingJob.load(job_dir)
    tell_unfinished(job, job_dir)
    with take_port(flag_values.port) as listener:
        port = listener.getsockname()[1]
        app = App(Recognizer.load(job_dir), limits, port, facts(job))
        # A thread may still be listening to a file then, perhaps a long one. Nothing is lost with it.
        with shutdown.wait_for_signal("ended"):
            print(f"open http://{HOST}:{port}/ in a browser; Ctrl-C ends it", flush=True)
            Server(app, limits).run(sockets=[listener])


def _check(flag_values: flags.FlagValues) -> None:
    if not flag_values.job_dir:
        raise UserError("--job_dir=JOB is needed (see --help)")
    for name in ("max_upload_mb", "max_duration_s"):
        # absl's bounds let a NaN pass.
        if math.isnan(flag_values[name].value):
            raise UserError(f"--{name} must be a number, got {flag_values[name].value}")


def facts(job: TrainingJob) -> dict[str, object]:
    """What the page says of the model."""
    front_end = front_end_config(job)
    return {
        "model": job.model,
        "labels": list(job.labels),
        "fmin_hz": front_end.fmin_hz,
        "fmax_hz": front_end.fmax_hz,
    }


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
