"""A real Apache Kafka in KRaft mode, one broker or three, on free loopback ports."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

from stream.embedded.downloads import fetched
from stream.embedded.java import java_executable
from stream.embedded.ports import free_ports, require_free
from stream.embedded.process import GuardedProcess
from stream.embedded.properties import Node, Security
from stream.embedded.readiness import await_until, serves
from stream.embedded.service import EmbeddedService
from stream.embedded.storage import node_folders, prepare, temporary_folder
from stream.errors import FatalError, UsageError

_MEMORY = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_LOG = ("-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS")
_POLITE_SECONDS = 15.0


class EmbeddedKafka(EmbeddedService):
    """Starts on entering, ends on leaving or with this process, even when that is killed.

    Without `directory` the data lie in a temporary folder that goes with the broker. With `port` the brokers
    listen there and on the ports after it. `overrides` are broker settings; `cache` is where the downloaded
    Kafka is kept. With `security` there is a second listener for clients with TLS and a password.
    """

    def __init__(
        self,
        brokers: int = 1,
        directory: Path | None = None,
        overrides: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
        cache: Path | None = None,
        start_timeout: float = 60.0,
        security: Security | None = None,
    ) -> None:
        if brokers not in {1, 3}:
            raise UsageError(f"an embedded Kafka has 1 or 3 brokers, not {brokers}")
        self._count = brokers
        self._directory = directory
        self._port = port
        self._overrides = overrides or {}
        self._cache = cache
        self._security = security
        self._timeout = start_timeout
        self._java: list[str] = []
        self._nodes: list[Node] = []
        self._processes: dict[int, GuardedProcess] = {}

    @property
    def bootstrap(self) -> str:
        """Addresses for `bootstrap.servers`."""
        return ",".join(node.address for node in self._nodes)

    @property
    def secure_bootstrap(self) -> str:
        """Addresses of the listener that `security` opened."""
        return ",".join(node.secure_address for node in self._nodes)

    @property
    def folder(self) -> Path:
        """Where data and logs lie, one folder a broker."""
        return self._nodes[0].folder.parent

    def start(self) -> None:
        """Start all brokers and wait until they answer.

        Raises UsageError when a port or folder cannot be used, FatalError with the end of a broker's log.
        """
        libraries = fetched("kafka", self._cache)
        self._java = [str(java_executable()), *_MEMORY, *_LOG, "-cp", f"{libraries}/*"]
        ports = self._ports()
        folder = self._directory or temporary_folder("kafka")
        folders = node_folders(folder.absolute(), self._count)
        count = self._count
        self._nodes = [
            Node(i + 1, ports[i], ports[count + i], folders[i], ports[2 * count + i]) for i in range(count)
        ]
        prepare(self._java, self._nodes, self._overrides, self._security)
        for index in range(self._count):
            self._launch(index)
        self._await(range(self._count))

    def stop(self) -> None:
        """End all brokers."""
        for process in self._processes.values():
            process.ask_to_end()
        for process in self._processes.values():
            process.stop()
        self._processes.clear()
        if self._directory is None and self._nodes:
            shutil.rmtree(self.folder, ignore_errors=True)

    def check(self) -> None:
        """Raises FatalError with the end of its log when a broker has ended by itself."""
        for index, process in self._processes.items():
            if not process.alive:
                raise FatalError(f"Kafka broker {index} has ended; the end of its log:\n{process.tail()}")

    def pause(self, index: int = 0) -> None:
        """Stop a broker in its tracks; its connections stay open and silent."""
        self._processes[index].pause()

    def resume(self, index: int = 0) -> None:
        """Let a paused broker go on."""
        self._processes[index].resume()

    def kill(self, index: int = 0) -> None:
        """End a broker as a crash would."""
        self._processes[index].kill()
        del self._processes[index]

    def shut_down(self, index: int = 0) -> None:
        """End a broker in order. Raises FatalError when it does not end."""
        self._processes[index].end(_POLITE_SECONDS)
        del self._processes[index]

    def restart(self, index: int = 0) -> None:
        """Start a broker again on its port and with its data, killing it first if it runs."""
        if index in self._processes:
            self.kill(index)
        self._launch(index)
        self._await([index])

    def pid(self, index: int = 0) -> int:
        """Process number of a broker."""
        return self._processes[index].pid

    def _ports(self) -> list[int]:
        if self._port is None:
            return free_ports(3 * self._count)
        wanted = range(self._port, self._port + self._count)
        for port in wanted:
            require_free(port)
        return [*wanted, *(port for port in free_ports(3 * self._count) if port not in wanted)]

    def _launch(self, index: int) -> None:
        node, temporary = self._nodes[index], self._directory is None
        self._processes[index] = GuardedProcess(
            [*self._java, "kafka.Kafka", str(node.configuration)],
            node.folder / "broker.log",
            grace=0.0 if temporary else _POLITE_SECONDS,
            remove=self.folder if temporary else None,
        )

    def _await(self, indices: Collection[int]) -> None:
        numbers = [self._nodes[index].number for index in indices]
        for index in indices:
            node = self._nodes[index]
            if not await_until(partial(serves, node, numbers), self.check, self._timeout):
                raise FatalError(
                    f"Kafka broker {index} did not answer within {self._timeout:.0f} s; the end of its log:\n"
                    f"{self._processes[index].tail()}"
                )
