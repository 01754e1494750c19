"""Training batches made by other processes or machines: tf.data's service.

A service is one dispatcher and any number of workers (`python -m tools.data_service`), each of which must find the
dataset under the same path. The trainer sends them the pipeline of an epoch and takes batches from all workers.
Validation, evaluation and prediction never go through it. What its sharding modes mean for this pipeline:

- OFF (`parallel_epochs`): every worker gives the whole data. As order is a function of (seed, epoch), the workers
  would give the same batches: with two workers every batch comes twice. Not used.
- FILE, DATA, FILE_OR_DATA, HINT: a fixed share for each worker of a list that the dispatcher was started with, cut
  from the graph. Files are not seen inside an epoch's shuffle, so DATA would make every worker read all and drop most.
  Not used.
- DYNAMIC (`distributed_epoch`): the dispatcher deals the elements of the source to the workers as they ask, each to
  one of them. This is what is used, and the source here is the epoch's pieces, each a run of its batches.

So an epoch through the service holds the very batches that it holds without, each once, in an order that depends on the
workers. If a worker is lost, the rest of its piece is missing from the epoch (at most once); a dispatcher that is
started again from a journal (`fault_tolerant_mode`) may deal a piece twice (at least once). The trainer cannot know
which batches of an interrupted epoch it has seen: an epoch that goes on takes its remaining steps from all its batches
anew. To begin an epoch takes some seconds, so the service is for epochs of minutes. While a dispatcher that was there
is away, TensorFlow waits for it.
"""

import functools
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfrecords.command_line import UserError

if TYPE_CHECKING:
    import tensorflow as tf

_ADDRESS = re.compile(r"grpc://(?P<target>[^/\s]+:\d+)")
_GET_WORKERS = "/tensorflow.data.DispatcherService/GetWorkers"
_PAUSE_S = 0.2
# More keep more workers busy to the end of an epoch; each is a pipeline in the graph, which is sent for every epoch.
_PIECES = 8


def check_service(address: str, *, hosts: int = 1, limit_s: float = 5.0) -> None:
    """Waits until a dispatcher with a worker answers.

    Without this, TensorFlow would wait for a wrong address without end, and without a word.

    Args:
      address: grpc://HOST:PORT.
      hosts: that train together.
      limit_s: how long to wait.

    Raises:
      UserError: no such address, nothing there that deals data, or several hosts.
    """
    import grpc

    if hosts > 1:
        raise UserError(f"--data_service would give each of {hosts} hosts other batches; leave it out")

    found = _ADDRESS.fullmatch(address)
    if not found:
        raise UserError(f"--data_service must be grpc://HOST:PORT, got {address!r}")
    deadline = time.monotonic() + limit_s
    problem = "it has no worker"
    with grpc.insecure_channel(found["target"]) as channel:
        # The request has no fields, and an answer that is not empty lists a worker, so bytes will do for both.
        get_workers = channel.unary_unary(_GET_WORKERS)
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                if get_workers(b"", timeout=left_s, wait_for_ready=True):
                    return
            except grpc.RpcError as error:
                problem = "no dispatcher answers"
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    break
            time.sleep(_PAUSE_S)
    raise UserError(f"--data_service={address}: {problem}; start one with python -m tools.data_service")


def distributed(batches_from: "Callable[[int], tf.data.Dataset]", address: str, *, steps: int) -> "tf.data.Dataset":
    """One epoch's batches, made by the service's workers: each once, in no fixed order.

    Args:
      batches_from: step -> the epoch's batches from that step on, read with `ReaderOptions(in_graph=True)`.
      address: grpc://HOST:PORT of the dispatcher.
      steps: batches in the epoch.
    """
    import tensorflow as tf

    length = -(-steps // _PIECES)
    starts = range(0, steps, length)
    datasets = [batches_from(start).take(length) for start in starts]

    def piece(number: tf.Tensor) -> tf.data.Dataset:
        choices = [functools.partial(tf.identity, tf.data.experimental.to_variant(dataset)) for dataset in datasets]
        chosen = tf.switch_case(tf.cast(number, tf.int32), choices)
        return tf.data.experimental.from_variant(chosen, datasets[0].element_spec)

    service = tf.data.experimental.service
    pieces = tf.data.Dataset.range(len(starts)).flat_map(piece)
    return pieces.apply(service.distribute(processing_mode=service.ShardingPolicy.DYNAMIC, service=address))
