"""Waiting for the other hosts of a training, before TensorFlow does.

TensorFlow waits for them within one call that holds Python's lock: until the last one is there, no signal is noticed
and no limit of time can be kept. So the hosts meet here first: each one tells the chief, on the chief's own port, which
number it has, and the chief sends all of them on when the last one is there.
"""

import contextlib
import selectors
import socket
import time

from trainer.distribution.cluster import Cluster
from trainer.distribution.lost_host import HostLostError

_GO = b"go\n"
_POLL_S = 0.2
_HELLO_LIMIT_S = 5.0


def meet(cluster: Cluster, *, limit_s: float) -> None:
    """Returns when all hosts of a cluster have called it.

    Args:
      cluster: the hosts, of which this is one.
      limit_s: how long to wait for them, in seconds.

    Raises:
      HostLostError: they are not all there by then.
    """
    deadline = time.monotonic() + limit_s
    missing = _wait_for_others(cluster, deadline) if cluster.is_chief else _wait_for_chief(cluster, deadline)
    if missing:
        raise HostLostError(
            f"not all of the {len(cluster.addresses)} hosts of TF_CONFIG have come within {limit_s:g} s; missing: "
            f"{missing}"
        )


def _hello(cluster: Cluster, index: int) -> bytes:
    return f"host {index} of {len(cluster.addresses)}\n".encode()


def _wait_for_others(cluster: Cluster, deadline: float) -> str:
    """The chief's part; returns the addresses that have not come, "" if all have."""
    indices = {_hello(cluster, index): index for index in range(1, len(cluster.addresses))}
    there: dict[int, socket.socket] = {}
    port = int(cluster.addresses[0].rpartition(":")[2])
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("", port)))
        waiting = stack.enter_context(selectors.DefaultSelector())
        waiting.register(server, selectors.EVENT_READ)
        while len(there) < len(indices) and time.monotonic() < deadline:
            for key, _ in waiting.select(_POLL_S):
                if key.fileobj is server:
                    came = stack.enter_context(server.accept()[0])
                    if (index := indices.get(_received(came))) is not None:
                        there[index] = came
                        waiting.register(came, selectors.EVENT_READ, index)
                    else:
                        came.close()
                else:
                    # Nothing follows a hello but the end of the one who said it, who may have come again by then.
                    waiting.unregister(key.fileobj)
                    if there.get(key.data) is key.fileobj:
                        del there[key.data]
        if missing := [cluster.addresses[index] for index in indices.values() if index not in there]:
            return ", ".join(missing)
        for each in there.values():
            with contextlib.suppress(OSError):
                each.sendall(_GO)
    return ""


def _wait_for_chief(cluster: Cluster, deadline: float) -> str:
    """The part of another host; returns whom it has waited for in vain, "" if the chief has sent it on."""
    host, _, port = cluster.addresses[0].rpartition(":")
    while (left_s := deadline - time.monotonic()) > 0:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host.strip("[]"), int(port)), timeout=left_s) as chief,
        ):
            chief.sendall(_hello(cluster, cluster.index))
            chief.settimeout(max(_POLL_S, deadline - time.monotonic()))
            if chief.recv(len(_GO)) == _GO:
                return ""
        # It is not there yet, or its port is still that of an earlier training.
        time.sleep(_POLL_S)
    return f"the chief, {cluster.addresses[0]}, or others that it waits for"


def _received(came: socket.socket) -> bytes:
    """What a host says first; b"" where it says nothing."""
    came.settimeout(_HELLO_LIMIT_S)
    with contextlib.suppress(OSError):
        return came.recv(100)
    return b""
