"""The hosts of a training, as TF_CONFIG names them: how they meet, and what happens when one is lost.

TF_CONFIG is an environment variable, the same on all hosts but for the index:

    {"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, "task": {"type": "worker", "index": 0}}

Host 0 is the chief. Vertex AI and others call the first one {"type": "chief", "index": 0} and count the workers after
it from 0; both forms are read.

TensorFlow waits for all hosts within one call that holds Python's lock: until the last one is there, no signal is
noticed and no time limit can be kept. So the hosts meet here first: each sends the chief its number, on the chief's own
port, and the chief answers all of them when the last one is there.
"""

import contextlib
import dataclasses
import json
import os
import re
import selectors
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from tfrecords.common.command_line import UserError

VARIABLE = "TF_CONFIG"
_EXAMPLE = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'
_ADDRESS = re.compile(r"[^\s/]+:(?P<port>[0-9]{1,5})")
_LAST_PORT = 65535


# EX_UNAVAILABLE of sysexits.h; a person's mistake ends with 2, a fault of the program with 1.
STATUS = 69
# Where in its graph TensorFlow was.
_NODE = re.compile(r"\{\{.*?\}\}\s*")
# What TensorFlow raises, depending on what it was at.
_RAISED = ("Aborted", "Cancelled", "DeadlineExceeded", "FailedPrecondition", "Internal", "Unavailable", "Unknown")
_GO = b"go\n"
_POLL_S = 0.2
_HELLO_LIMIT_S = 5.0


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The hosts that train one job together.

    Attributes:
      addresses: HOST:PORT of each, the chief first.
      index: which of them this is, from 0.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this host writes the job's files; the others read them."""
        return self.index == 0

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Cluster":
        """Reads TF_CONFIG.

        Raises:
          UserError: it is not there or ill-formed, or names no such host.
        """
        text = environ.get(VARIABLE, "")
        if not text:
            raise UserError(
                f"`distribution=multi_worker` needs the environment variable {VARIABLE}, such as {_EXAMPLE}"
            )
        try:
            data = json.loads(text)
        except ValueError as error:
            raise UserError(f"{VARIABLE} is not JSON ({error}); write it as {_EXAMPLE}") from None
        addresses, counts = _addresses(data)
        task = data.get("task")
        # No isinstance: true would be an integer.
        if not isinstance(task, dict) or task.get("type") not in list(counts) or type(task.get("index")) is not int:
            raise UserError(
                f'{VARIABLE}: "task" must name a type of the cluster ({" or ".join(counts)}) and an index, got '
                f"{json.dumps(task)}; write it as {_EXAMPLE}"
            )
        if not 0 <= task["index"] < counts[task["type"]]:
            raise UserError(
                f"{VARIABLE}: the task's index must be from 0 to {counts[task['type']] - 1}, as there are "
                f"{counts[task['type']]} {task['type']}, got {task['index']}"
            )
        before = counts.get("chief", 0) if task["type"] == "worker" else 0
        return cls(addresses, before + task["index"])

    def check_port(self) -> None:
        """Raises UserError when another program has this host's port, which TensorFlow would not say."""
        port = int(self.addresses[self.index].rpartition(":")[2])
        with socket.socket() as own:
            # As the server of TensorFlow does: connections of an earlier training that are closing are no hindrance.
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                own.bind(("", port))
            except OSError as error:
                raise UserError(
                    f"{VARIABLE}: port {port} of this host, {self.addresses[self.index]}, cannot be used "
                    f"({error.strerror}); end what uses it, or name another port on all hosts"
                ) from None


def _addresses(data: Any) -> tuple[tuple[str, ...], dict[str, int]]:
    """All addresses, the chief's first, and how many there are of each type."""
    cluster = data.get("cluster") if isinstance(data, dict) else None
    if not isinstance(cluster, dict) or not set(cluster) <= {"chief", "worker"} or not cluster:
        raise UserError(
            f'{VARIABLE}: "cluster" must list the hosts as "worker" (and one "chief"), got '
            f"{json.dumps(cluster)}; write it as {_EXAMPLE}"
        )
    counts, addresses = {}, list[str]()
    for kind in ("chief", "worker"):
        own = cluster.get(kind, [])
        if not isinstance(own, list) or not all(map(_is_address, own)):
            raise UserError(
                f'{VARIABLE}: "{kind}" must be a list of HOST:PORT, got {json.dumps(own)}; ports are from 1 to '
                f"{_LAST_PORT}"
            )
        if own:
            counts[kind] = len(own)
        addresses += own
    if counts.get("chief", 0) > 1:
        raise UserError(f"{VARIABLE}: there must be one chief, got {counts['chief']}")
    if not addresses or len(set(addresses)) < len(addresses):
        raise UserError(f"{VARIABLE}: the hosts must be different ones, and at least one, got {json.dumps(addresses)}")
    return tuple(addresses), counts


def _is_address(text: Any) -> bool:
    found = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    return found is not None and 1 <= int(found["port"]) <= _LAST_PORT


class HostLostError(RuntimeError):
    """Another host of the training is not there, or no longer: nothing is wrong here, and all are to start again."""


@contextlib.contextmanager
def losing_hosts(hosts: int) -> Iterator[None]:
    """Around what all hosts do together: when one is gone, TensorFlow's error becomes a HostLostError.

    Args:
      hosts: how many there are; where there is one, nothing is changed.

    Raises:
      HostLostError: a host is gone.
    """
    import tensorflow as tf

    try:
        yield
    except Exception as error:
        if hosts == 1 or not isinstance(error, tuple(getattr(tf.errors, f"{name}Error") for name in _RAISED)):
            raise
        raise HostLostError(
            f"another host of this training is gone ({_reason(error)}); start the same command on all hosts again, and "
            "it goes on from the last saved state"
        ) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "aborted by" in line]
    return _NODE.sub("", (told or lines or [type(error).__name__])[0]).rstrip(":")


def end_process(sentence: str, status: int) -> NoReturn:
    """Ends this process at once, with a last sentence: TensorFlow's own end would wait for the other hosts."""
    sys.stdout.flush()
    print(sentence, file=sys.stderr, flush=True)
    os._exit(status)


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
                    # A host sends nothing after its hello, so it has disconnected; it may have reconnected already.
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
