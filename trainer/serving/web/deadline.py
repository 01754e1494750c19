"""Reading from a connection until a point in time, however slowly the other side sends."""

import io
import socket
import time
from typing import Any


class DeadlineReader(io.RawIOBase):
    """A connection's incoming bytes; put an io.BufferedReader around it.

    A socket's own timeout starts anew with every byte, so that a client that sends one now and then could stay for
    ever.

    Attributes:
      ends: time.monotonic() from which on reading raises TimeoutError.
    """

    def __init__(self, connection: socket.socket, limit_s: float) -> None:
        self._connection = connection
        self.ends = time.monotonic() + limit_s

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Waits for the next bytes; 0 when the other side has ended.

        Raises:
          TimeoutError: the time is over.
        """
        before = self._connection.gettimeout()
        left_s = self.ends - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the time for reading is over")
        self._connection.settimeout(left_s)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(before)
