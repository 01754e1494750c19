"""The hosts of a training, as TF_CONFIG names them.

TF_CONFIG is an environment variable, the same on all hosts but for the index:

    {"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, "task": {"type": "worker", "index": 0}}

Host 0 is the chief. Vertex AI and others call the first one {"type": "chief", "index": 0} and count the workers after
it from 0; both forms are read.
"""

import dataclasses
import json
import re
import socket
from collections.abc import Mapping
from typing import Any

from tfrecords.command_line import UserError

VARIABLE = "TF_CONFIG"
_EXAMPLE = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'
_ADDRESS = re.compile(r"[^\s/]+:(?P<port>[0-9]{1,5})")
_LAST_PORT = 65535


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
                f"--distribution=multi_worker needs the environment variable {VARIABLE}, such as {_EXAMPLE}"
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
