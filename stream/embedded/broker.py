"""A real Apache Kafka in KRaft mode, one broker or three, on free loopback ports."""

from __future__ import annotations

import base64
import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream.embedded.downloads import fetched
from stream.embedded.java import java_executable
from stream.embedded.process import GuardedProcess
from stream.embedded.properties import Node, server_properties
from stream.errors import FatalError

_MEMORY = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_POLITE_SECONDS = 10.0


class EmbeddedKafka:
    """Starts on entering, ends on leaving or with this process, even when that is killed.

    Without `directory` the data lie in a temporary folder that goes with the broker.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        directory: Path | None = None,
        port: int | None = None,
        overrides: Mapping[str, str] | None = None,
        cache: Path | None = None,
        start_timeout: float = 60.0,
    ) -> None:
        self._count = brokers
        self._directory = directory
        self._port = port
        self._overrides = overrides or {}
        self._cache = cache
        self._timeout = start_timeout
        self._command: list[str] = []
        self._nodes: list[Node] = []
        self._processes: dict[int, GuardedProcess] = {}

    @property
    def bootstrap(self) -> str:
        """Addresses for `bootstrap.servers`."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self._nodes)

    def start(self) -> None:
        """Start all brokers and wait until they answer. Raises FatalError with the end of a broker's log."""
        libraries = fetched("kafka", self._cache)
        self._command = [str(java_executable()), *_MEMORY, "-cp", f"{libraries}/*"]
        folder = self._directory or Path(tempfile.mkdtemp(prefix="claimstream-kafka-"))
        self._nodes = _nodes(folder.absolute(), self._count, self._port)
        for node in self._nodes:
            self._prepare(node)
        for node in self._nodes:
            self._launch(node)
        self._await_all()

    def stop(self) -> None:
        """End all brokers."""
        for process in self._processes.values():
            process.stop()
        self._processes.clear()
        if self._directory is None and self._nodes:
            shutil.rmtree(self._nodes[0].folder.parent, ignore_errors=True)

    def pause(self, index: int = 0) -> None:
        """Stop a broker in its tracks; its connections stay open and silent."""
        self._processes[index].signal(signal.SIGSTOP)

    def resume(self, index: int = 0) -> None:
        """Let a paused broker go on."""
        self._processes[index].signal(signal.SIGCONT)

    def kill(self, index: int = 0) -> None:
        """End a broker as a crash would."""
        self._processes.pop(index).kill()

    def restart(self, index: int = 0) -> None:
        """Start a killed broker again, on its port and with its data."""
        self._launch(self._nodes[index])
        self._await_all()

    def pid(self, index: int = 0) -> int:
        """Process number of a broker."""
        return self._processes[index].pid

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self, node: Node) -> None:
        node.folder.mkdir(parents=True, exist_ok=True)
        configuration = node.folder / "server.properties"
        configuration.write_text(server_properties(node, self._nodes, self._overrides))
        if (node.folder / "data" / "meta.properties").exists():
            return
        answer = subprocess.run(
            [*self._command, "kafka.tools.StorageTool", "format", "-t", self._cluster(), "-c", str(configuration)],
            capture_output=True,
            text=True,
            timeout=self._timeout,
            check=False,
        )
        if answer.returncode != 0:
            raise FatalError(f"{node.folder} could not be formatted for Kafka:\n{answer.stdout}{answer.stderr}")

    def _cluster(self) -> str:
        """One identity for all nodes, kept in the first one's folder."""
        kept = self._nodes[0].folder / "cluster-id"
        if not kept.exists():
            kept.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode())
        return kept.read_text()

    def _launch(self, node: Node) -> None:
        temporary = self._directory is None
        self._processes[node.number - 1] = GuardedProcess(
            [*self._command, "kafka.Kafka", str(node.folder / "server.properties")],
            node.folder / "broker.log",
            grace=0.0 if temporary else _POLITE_SECONDS,
            remove=node.folder.parent if temporary else None,
        )

    def _await_all(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            for process in self._processes.values():
                if not process.alive:
                    raise FatalError(f"a broker ended while starting; the end of its log:\n{process.tail()}")
            with contextlib.suppress(KafkaException):
                if len(admin.list_topics(timeout=1.0).brokers) == len(self._processes):
                    return
            time.sleep(0.05)
        raise FatalError(
            f"Kafka did not answer within {self._timeout:.0f} s; the end of a broker's log:\n"
            f"{next(iter(self._processes.values())).tail()}"
        )


def _nodes(folder: Path, count: int, port: int | None) -> list[Node]:
    free = _free_ports(2 * count)
    if port is not None:
        free[0:count] = range(port, port + count)
    return [Node(i + 1, free[i], free[count + i], folder / f"broker-{i + 1}") for i in range(count)]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
