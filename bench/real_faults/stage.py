"""A stage in processes of its own, with levers, and another worker that comes and goes."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bench.scrape import numbers, page, total
from stream.audit import Topics
from stream.embedded.ports import free_ports

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 30.0
_READY_SECONDS = 60.0
_ANSWER_SECONDS = 2.0
_METRIC_SECONDS = 15.0


def _die_with_parent() -> None:
    """Whoever strikes may be killed, too; its workers drain when their supervisor is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class NeverError(RuntimeError):
    """Something that was waited for did not come."""


def await_that(condition: Callable[[], bool], what: str, seconds: float = _READY_SECONDS) -> None:
    """Raises NeverError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NeverError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.02)


class Stage:
    """`claimstream run` with levers."""

    def __init__(
        self, arguments: list[str], environment: Mapping[str, str], log: Path, *, full_disk: bool = False
    ) -> None:
        (self._port,) = free_ports(1)
        self.log = log
        log.touch()
        self._heard = 0
        command = [sys.executable, "-m", *arguments, "--port", str(self._port)]
        with Path("/dev/full").open("wb") if full_disk else log.open("ab") as sink:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self) -> int:
        """Process number of the supervisor."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def get(self, path: str) -> tuple[int, str]:
        """Status and text; status 0 while nothing answers."""
        return page(self._port, path, _ANSWER_SECONDS)

    def order(self, action: str, model: str, token: str) -> None:
        """Have the cache load a model, or let it go."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/ml/cache/{action}",
            json.dumps({"models": [model]}).encode(),
            {"Authorization": f"Bearer {token}"},
            method="POST",
        )
        with suppress(OSError), urllib.request.urlopen(request, timeout=10):  # noqa: S310 - its own address
            pass

    @property
    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def await_ready(self) -> None:
        await_that(lambda: self.ready or self.exit_code is not None, "the stage is ready")

    def metric(self, name: str) -> float:
        """The sum over the labels of a metric; 0 where it is not there. Raises NeverError when nobody answers."""
        answers: list[str] = []

        def answered() -> bool:
            status, text = self.get("/metrics")
            answers.append(text)
            return status == 200

        await_that(answered, "the stage tells its metrics", _METRIC_SECONDS)
        return total(numbers(answers[-1]), name)

    def workers(self) -> list[int]:
        """Process numbers of the workers, the eldest first."""
        try:
            children = psutil.Process(self.pid).children()
            found = [child for child in children if any("spawn_main" in part for part in child.cmdline())]
            return [child.pid for child in sorted(found, key=lambda child: child.create_time())]
        except psutil.Error:
            return []

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = _STOP_SECONDS) -> int:
        """The exit code. Raises NeverError."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise NeverError(f"the stage did not end within {seconds:.0f} s") from error

    def stop(self) -> int:
        """Ask it to drain; the exit code. Raises NeverError."""
        if self.exit_code is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """The whole stage, at once."""
        for pid in [*self.workers(), self.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()

    def listen(self) -> None:
        """From now on `said` gives what comes, and nothing of what was."""
        self._heard = self.log.stat().st_size

    def said(self) -> str:
        """What it has logged since somebody last began to listen."""
        with self.log.open("rb") as file:
            file.seek(self._heard)
            return file.read().decode("utf-8", errors="replace")


@contextmanager
def coming_and_going(
    levers: Path, environment: Mapping[str, str], log: Path, seconds: float, period: float
) -> Iterator[subprocess.Popen[bytes]]:
    """A further worker that joins and leaves every `period` seconds; the block begins when it is about to join."""
    command = [sys.executable, "-m", "bench.real_faults.comer", str(levers), str(seconds), str(period)]
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=sink
        )
    try:
        assert process.stdout is not None
        told, _, _ = select.select([process.stdout], [], [], _READY_SECONDS)
        if not told or process.stdout.readline() != b"joining\n":
            raise NeverError("the further worker did not start")
        yield process
    finally:
        process.terminate()
        process.wait()
        process.stdout.close() if process.stdout is not None else None


def group_of(topics: Topics) -> str:
    """The consumer group of the stage on these topics."""
    return f"group-{topics.claims}"


def names(topics: Topics) -> dict[str, str]:
    """The topics and the group as the stage reads them from its environment."""
    return {
        "CLAIMSTREAM_KAFKA__TOPICS__INPUT": topics.claims,
        "CLAIMSTREAM_KAFKA__TOPICS__OUTPUT": topics.scores,
        "CLAIMSTREAM_KAFKA__TOPICS__DEAD_LETTERS": topics.dead_letters,
        "CLAIMSTREAM_KAFKA__GROUP_ID": group_of(topics),
    }
