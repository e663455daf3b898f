"""Contestants take turns; each is measured from outside by how fast the output topic grows."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from confluent_kafka import Consumer, TopicPartition

from bench.preload import preload

_LOOK = 0.05
_START_SECONDS = 120.0
# A contestant that delivered so many claims has found its way.
_FIRST_CLAIMS = 10_000
_ATTEMPTS = 4
_LOG_BYTES = 2_000


class BenchError(RuntimeError):
    """A contestant did not do its part; nothing was measured."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a contestant reads and writes."""

    bootstrap: str
    claims: str
    scores: str
    dead_letters: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program under test; `command` and `environment` are made for a fresh consumer group."""

    name: str
    command: Callable[[str], Sequence[str]]
    environment: Callable[[str], Mapping[str, str]]
    ready: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds of warm-up and of measuring."""

    warm_up: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Growth:
    """What one window saw: claims delivered within it, its seconds, and claims delivered since the start."""

    claims: int
    seconds: float
    since_start: int

    @property
    def speed(self) -> float:
        """Claims a second."""
        return self.claims / self.seconds

    def ran_dry(self, loaded: int) -> bool:
        """Whether the contestant had delivered all of the topic's `loaded` claims before the window closed."""
        return self.since_start >= loaded


class Meter:
    """End offsets of a topic, summed."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        # Errors alone: that a broker ends before its meter is no news.
        self._client = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "bench-meter",
                "log_level": 3,
                "log.connection.close": False,
            }
        )
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]

    def total(self) -> int:
        return sum(
            self._client.get_watermark_offsets(partition, timeout=30)[1] for partition in self._partitions
        )

    def close(self) -> None:
        self._client.close()


@contextmanager
def metered(bootstrap: str, topic: str, partitions: int) -> Iterator[Meter]:
    """A meter that is closed again."""
    meter = Meter(bootstrap, topic, partitions)
    try:
        yield meter
    finally:
        meter.close()


class Running:
    """A contestant's process, and what it said on standard error."""

    def __init__(self, contestant: Contestant, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self._contestant = contestant
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def await_start(self, delivered: Callable[[], int], claims: int = _FIRST_CLAIMS) -> None:
        """Wait until it says it is ready and has delivered `claims`. Raises BenchError."""
        self.await_that(lambda: delivered() >= claims and self._contestant.ready())

    def await_that(self, condition: Callable[[], bool]) -> None:
        """Raises BenchError, with the end of its log, when it ends or when two minutes pass."""
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            if self._process.poll() is not None:
                raise BenchError(f"{self._contestant.name} ended by itself:\n{self._said()}")
            if time.monotonic() > deadline:
                raise BenchError(
                    f"{self._contestant.name} did not get there in {_START_SECONDS:.0f} s:\n{self._said()}"
                )
            time.sleep(_LOOK)

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _said(self) -> str:
        self._log.seek(max(self._log.seek(0, os.SEEK_END) - _LOG_BYTES, 0))
        return self._log.read().decode(errors="replace")


@contextmanager
def running(contestant: Contestant) -> Iterator[Running]:
    """The contestant as a process of its own, in a consumer group of its own."""
    group = f"bench-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            contestant.command(group),
            env={**os.environ, **contestant.environment(group)},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        run = Running(contestant, process, log)
        try:
            yield run
        finally:
            run.stop()


def throughput(contestant: Contestant, route: Route, window: Window) -> float:
    """Claims a second over one window, after the warm-up.

    A window in which the input ran dry does not count: the input is doubled and the window repeated.
    """
    for _ in range(_ATTEMPTS):
        with metered(route.bootstrap, route.claims, route.partitions) as meter:
            loaded = meter.total()
        growth = _grow(contestant, route, window)
        if not growth.ran_dry(loaded):
            return growth.speed
        preload(route.bootstrap, route.claims, loaded, route.partitions)
    raise BenchError(f"{contestant.name} empties the input topic before the window ends")


def _grow(contestant: Contestant, route: Route, window: Window) -> Growth:
    with metered(route.bootstrap, route.scores, route.partitions) as meter:
        start = meter.total()
        with running(contestant) as run:
            run.await_start(lambda: meter.total() - start)
            time.sleep(window.warm_up)
            before, opened = meter.total(), time.monotonic()
            time.sleep(window.seconds)
            after, closed = meter.total(), time.monotonic()
    return Growth(after - before, closed - opened, after - start)


def alternate(
    contestants: Sequence[Contestant], route: Route, window: Window, rounds: int
) -> list[dict[str, float]]:
    """One throughput a contestant and round; contestants of one round are neighbours in time."""
    return [{each.name: throughput(each, route, window) for each in contestants} for _ in range(rounds)]


def ratios(results: Sequence[Mapping[str, float]], ours: str, *theirs: str) -> list[float]:
    """Round by round, our speed over the best of theirs."""
    return [result[ours] / max(result[name] for name in theirs) for result in results]


def spread(values: Sequence[float]) -> str:
    """Minimum, median and maximum."""
    return f"min {min(values):.3g}, median {statistics.median(values):.3g}, max {max(values):.3g}"


def speeds(results: Sequence[Mapping[str, float]]) -> str:
    """Median claims a second of every contestant."""
    names = results[0]
    return ", ".join(f"{name}: {statistics.median(r[name] for r in results):.0f}" for name in names)
