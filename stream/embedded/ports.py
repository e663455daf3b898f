"""Free ports on the loopback interface."""

from __future__ import annotations

import random
import socket

from stream.errors import FatalError, UsageError

# Below the range that systems use for outgoing connections: a port from here stays free across a restart.
_RANGE = range(15_000, 32_000)
_TRIES = 500


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on. Raises FatalError when there are too few."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_RANGE, _TRIES):
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise FatalError(f"{_TRIES} ports of 127.0.0.1 were tried and fewer than {count} are free")


def require_free(port: int) -> None:
    """Raises UsageError when somebody listens on `port` already."""
    if not is_free(port):
        raise UsageError(f"port {port} of 127.0.0.1 is in use; end what listens there or choose another port")


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
