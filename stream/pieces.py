"""Reports over a pipe, in pieces that are written in one call each.

A larger one would be written in two, and whoever has read the first waits for the second: for ever, where the process
that writes was frozen in between.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

# multiprocessing writes a message of up to 16,384 bytes at once, with its length.
LARGEST = 16_000
# What is sent whole begins with neither.
_MORE, _LAST = b"+", b"."


def send(connection: Connection, report: object) -> None:
    """Raises OSError where nobody listens."""
    data = bytes(ForkingPickler.dumps(report))
    if len(data) <= LARGEST:
        connection.send_bytes(data)
        return
    for start in range(0, len(data), LARGEST):
        mark = _MORE if start + LARGEST < len(data) else _LAST
        connection.send_bytes(mark + data[start : start + LARGEST])


class Pieces:
    """What came so far of a report."""

    def __init__(self) -> None:
        self._came = bytearray()

    def receive(self, connection: Connection) -> Any:
        """Of a connection from which something can be read, the next piece: the report that it ends, or None.

        Raises EOFError or OSError where the other side is gone.
        """
        data = connection.recv_bytes()
        if data[:1] in (_MORE, _LAST):
            self._came += data[1:]
            if data[:1] == _MORE:
                return None
            data, self._came = bytes(self._came), bytearray()
        return ForkingPickler.loads(data)
