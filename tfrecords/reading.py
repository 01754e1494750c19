"""What is said when a shard cannot be read, or turns out to be corrupt, in the middle of an epoch."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from tfrecords.command_line import UserError
from tfrecords.shard import ShardError

# Of each `reading` under way, by its id: what was wrong with shards meanwhile, and with which text it was passed on.
_under_way: dict[int, list[tuple[ShardError, str]]] = {}


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Around whatever takes batches from `load`: what is wrong with a shard when it is read becomes a UserError.

    All other errors pass.

    Raises:
      UserError: a shard cannot be read or is corrupt, or a record does not parse; the message names the file, and the
        offset in bytes or the record.
    """
    faults: list[tuple[ShardError, str]] = []
    _under_way[id(faults)] = faults
    try:
        yield
    except ShardError as error:
        raise UserError(_told(error)) from None
    except tf.errors.OpError as error:
        # Shards are read ahead: while a fault waits for its turn, a model may fail by itself.
        for fault, text in faults:
            if text in error.message:
                raise UserError(_told(fault)) from None
        raise
    finally:
        del _under_way[id(faults)]


def passed_on(fault: ShardError) -> ShardError:
    """What to raise for a fault, which TensorFlow makes an error of its own; each `reading` under way keeps the fault.

    Its text is UTF-8, as of any other TensorFlow passes on nothing.
    """
    text = str(fault).encode("utf-8", "backslashreplace").decode("utf-8")
    for faults in list(_under_way.values()):
        faults.append((fault, text))
    return ShardError(text)


def _told(fault: ShardError) -> str:
    return f"{fault}; write the dataset again"
