"""Serve an exported model over HTTP, in TensorFlow Serving's REST form and for audio files.

python -m trainer.serve --export_dir=DIR [--name=genre] [--host=127.0.0.1] [--port=8501]

curl --data-binary @song.mp3 http://127.0.0.1:8501/v1/models/genre:classify
    its genres over time, as trainer.predict --json names them
curl -d '{"instances": [[0.1, 0.2, ...]]}' http://127.0.0.1:8501/v1/models/genre:predict
    the genre of a waveform at the model's rate; "signature_name" takes another signature of the export
curl http://127.0.0.1:8501/v1/models/genre/metadata
    the signatures; /healthz and /metrics are for Kubernetes and Prometheus

Runs until Ctrl-C or SIGTERM. Patches of requests that arrive together share a step of the model. Nothing is encrypted
and nobody has to log in: with another --host than this machine's own, put a proxy in front that does both.
"""

import contextlib
import os

import threadpoolctl
from absl import flags

from tfrecords.common import command_line, shutdown
from tfrecords.common.command_line import UserError
from trainer import job_store, listen

FLAGS = flags.FlagValues()
flags.DEFINE_string("export_dir", "", "directory of the exported model", flag_values=FLAGS)
flags.DEFINE_string("name", "genre", "name of the model in the addresses", flag_values=FLAGS)
flags.DEFINE_string("host", "127.0.0.1", "address to listen on; 0.0.0.0: all of this machine", flag_values=FLAGS)
flags.DEFINE_integer("port", 8501, "port; 0: any free one", lower_bound=0, upper_bound=65535, flag_values=FLAGS)
flags.DEFINE_integer(
    "requests", 64, "requests answered at once; further ones get status 503", lower_bound=1, flag_values=FLAGS
)
# As the page has them.
for _name in ("max_upload_mb", "max_duration_s"):
    FLAGS[_name] = listen.FLAGS[_name]


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Take the port, load the model and serve it until a signal ends the process."""
    command_line.no_arguments(positional)
    if not flag_values.export_dir:
        raise UserError("--export_dir=DIR is needed (see --help)")
    if not flag_values.name or "/" in flag_values.name or ":" in flag_values.name:
        raise UserError(f"--name must be a word without / and :, got {flag_values.name!r}")
    upload_limits = listen.parse_upload_limits(flag_values)
    # Imported here so that --help need not wait for it.
    from trainer.serving.exported import ExportedModel, ExportFacts
    from trainer.serving.rest import RestApp
    from trainer.serving.web.app import Limits
    from trainer.serving.web.server import Server, take_port

    requests = flag_values.requests
    limits = Limits(**upload_limits, connections=4 * requests, files=requests)
    with contextlib.ExitStack() as stack:
        export_dir = stack.enter_context(job_store.opened(flag_values.export_dir))
        ExportFacts.load(export_dir)
        try:
            listener = stack.enter_context(take_port(flag_values.port, flag_values.host))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise UserError(f"--host={flag_values.host} --port={flag_values.port} cannot be used: {reason}") from None
        host, port = listener.getsockname()[:2]
        app = RestApp(ExportedModel(export_dir), flag_values.name, limits)
        # BLAS's threads would compete with the decoding threads for the cores. The signal does not wait for a thread
        # that may be decoding a long file.
        with threadpoolctl.threadpool_limits(1, user_api="blas"), shutdown.wait_for_signal("ended"):
            print(f"serving http://{host}:{port}/v1/models/{flag_values.name}; Ctrl-C ends it", flush=True)
            Server(app, limits).run(sockets=[listener])


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
