"""A real Schema Registry, Apicurio, that speaks Confluent's API; in memory, on a free loopback port."""

from __future__ import annotations

import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from stream.embedded import maven
from stream.embedded.downloads import fetched
from stream.embedded.java import java_executable
from stream.embedded.ports import free_ports
from stream.embedded.process import GuardedProcess
from stream.embedded.readiness import await_until, listens
from stream.embedded.service import EmbeddedService
from stream.embedded.storage import temporary_folder
from stream.errors import FatalError

_COORDINATE = "io.apicurio:apicurio-registry-app:2.5.11.Final:tar.gz:all"
_MEMORY = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class EmbeddedRegistry(EmbeddedService):
    """Starts on entering, ends on leaving or with this process, even when that is killed; keeps nothing."""

    def __init__(self, *, cache: Path | None = None, start_timeout: float = 60.0) -> None:
        self._cache = cache
        self._timeout = start_timeout
        self._folder: Path | None = None
        self._port = 0
        self._process: GuardedProcess | None = None

    @property
    def url(self) -> str:
        """For `schema.registry.url`."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    def start(self) -> None:
        """Start and wait for the first answer. Raises FatalError with the end of the log."""
        archive = next(fetched("registry", self._cache, _download).iterdir())
        self._folder = temporary_folder("registry")
        with tarfile.open(archive) as files:
            files.extractall(self._folder, filter="data")
        runner = next(self._folder.glob("*-runner.jar"))
        (self._port,) = free_ports(1)
        place = [f"-Dquarkus.http.port={self._port}", "-Dquarkus.http.host=127.0.0.1"]
        self._process = GuardedProcess(
            [str(java_executable()), *_MEMORY, *place, "-jar", str(runner)],
            self._folder / "registry.log",
            remove=self._folder,
        )
        if not await_until(self._answers, self.check, self._timeout):
            raise FatalError(
                f"the Schema Registry did not answer within {self._timeout:.0f} s; the end of its log:\n"
                f"{self._process.tail()}"
            )

    def stop(self) -> None:
        """End it; all schemas are gone."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def check(self) -> None:
        """Raises FatalError with the end of its log when it has ended by itself."""
        if self._process is not None and not self._process.alive:
            raise FatalError(f"the Schema Registry has ended; the end of its log:\n{self._process.tail()}")

    def _answers(self) -> bool:
        if not listens(self._port):
            return False
        try:
            urllib.request.urlopen(f"{self.url}/subjects", timeout=5.0).close()  # noqa: S310 - always http to loopback
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False
        return True


def _download(_name: str, target: Path) -> None:
    maven.download(_COORDINATE, target)
