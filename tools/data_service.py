"""Starts a tf.data service on this machine: processes that make training batches for `trainer.train`.

python -m tools.data_service [--workers=2] [--port=0]

Prints the address for --data_service once every worker is there, and runs until Ctrl-C or SIGTERM. The dispatcher and
the workers are processes of their own, told to the trainer as localhost; they end with this one, however it ends. When
one of them ends by itself, all do, with status 2.

What a training gets through the service is told in trainer/training/data_service.py: sharding is DYNAMIC, an epoch's
batches come once each and in no fixed order. TensorFlow's servers listen on all of the machine's addresses and ask
nobody for a password: for networks that can be trusted.
"""

import contextlib
import multiprocessing
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

from absl import flags

from tfrecords import command_line, shutdown
from tfrecords.command_line import UserError

_START_LIMIT_S = 120
_END_LIMIT_S = 5

FLAGS = flags.FlagValues()
flags.DEFINE_integer("workers", 2, "processes that make batches", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer(
    "port", 0, "the dispatcher's; 0: any that is free", lower_bound=0, upper_bound=65535, flag_values=FLAGS
)


def main(flag_values: flags.FlagValues, positional: list[str]) -> NoReturn:
    """Runs the service until it is told to end.

    Raises:
      UserError: it cannot be started, or a process of it has ended.
    """
    command_line.no_arguments(positional)
    _check_free(flag_values.port)
    with shutdown.until_told(), contextlib.ExitStack() as stack:
        dispatcher, target = _start(stack, serve_dispatcher, flag_values.port)
        workers = [_start(stack, serve_worker, target)[0] for _ in range(flag_values.workers)]
        print(f"data service with {len(workers)} workers: --data_service=grpc://{target}", flush=True)
        wait([process.sentinel for process in (dispatcher, *workers)])
    raise UserError("a process of the service has ended by itself; all are ended")


def _check_free(port: int) -> None:
    """Found out by TensorFlow, a port that is taken would be told in lines of its own."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UserError(f"--port={port} cannot be used: {error.strerror}") from None


def _start(
    stack: contextlib.ExitStack, serve: Callable[[Connection, Any], None], argument: int | str
) -> tuple[BaseProcess, str]:
    """Starts a server, which ends with the stack: (its process, HOST:PORT)."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    # Kept open: its end tells the process that this one has gone.
    stack.callback(ours.close)
    process = context.Process(target=serve, args=(its, argument))
    with shutdown.put_off():
        process.start()
        stack.enter_context(shutdown.if_ended(partial(_end, process)))
    stack.callback(_end, process)
    its.close()
    try:
        if not ours.poll(_START_LIMIT_S):
            raise UserError(f"a process of the service was not ready within {_START_LIMIT_S} s")
        address, problem = ours.recv()
    except EOFError:
        raise UserError("a process of the service has ended before it was ready") from None
    if problem:
        raise UserError(f"the service cannot be started: {problem}")
    return process, address


def _end(process: BaseProcess) -> None:
    process.terminate()
    process.join(_END_LIMIT_S)
    if process.is_alive():
        process.kill()
        process.join()


def serve_dispatcher(connection: Connection, port: int) -> None:
    """In a process of its own: deals the work, until the other end of the connection has gone."""
    with _serving(connection) as service:
        server = service.DispatchServer(service.DispatcherConfig(port=port))
        _stay(connection, server.target.removeprefix("grpc://"))


def serve_worker(connection: Connection, dispatcher: str) -> None:
    """In a process of its own: makes batches, until the other end of the connection has gone."""
    with _serving(connection) as service:
        # It works as long as something refers to it.
        server = service.WorkerServer(service.WorkerConfig(dispatcher_address=dispatcher))
        _stay(connection, dispatcher)
        del server


@contextlib.contextmanager
def _serving(connection: Connection) -> Iterator[Any]:
    """Gives TensorFlow's service module; what keeps a server from starting is told to the other end."""
    # The first process is told to end, and ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    command_line.import_tensorflow()
    import tensorflow as tf

    try:
        yield tf.data.experimental.service
    except (tf.errors.OpError, RuntimeError) as error:
        connection.send(("", str(error).splitlines()[0]))


def _stay(connection: Connection, address: str) -> None:
    """Tells the address, then waits until the other end of the connection has gone."""
    connection.send((address, ""))
    with contextlib.suppress(EOFError):
        connection.recv()


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
