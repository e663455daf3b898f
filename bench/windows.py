"""Contestants take turns; each is measured from outside by how fast the output topic grows."""

from __future__ import annotations

import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import Consumer, TopicPartition

from bench.programs import Program, program

_LOOK = 0.05
_START_SECONDS = 60.0


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


class Pausable(Protocol):
    """A program that can stand still, and the claims that it has scored."""

    def total(self) -> int: ...

    def stop(self) -> None: ...

    def go_on(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds of warm-up and of measuring."""

    warm_up: float
    seconds: float


class Meter:
    """End offsets of some partitions of a topic, summed."""

    def __init__(self, bootstrap: str, topic: str, partitions: Iterable[int]) -> None:
        self._client = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-meter", "log_level": 0})
        self._partitions = [TopicPartition(topic, number) for number in partitions]

    def total(self) -> int:
        return sum(
            self._client.get_watermark_offsets(partition, timeout=10)[1] for partition in self._partitions
        )

    def await_growth(self, start: int, count: int, check: Callable[[], object]) -> None:
        """Raises RuntimeError when the topic does not grow by `count` within a minute, and what `check` raises."""
        deadline = time.monotonic() + _START_SECONDS
        while self.total() - start < count:
            check()
            if time.monotonic() > deadline:
                raise RuntimeError("a contestant wrote nothing for a minute")
            time.sleep(_LOOK)


def running(contestant: Contestant) -> AbstractContextManager[Program]:
    """The contestant as a process of its own, in a consumer group of its own."""
    group = f"bench-{uuid.uuid4().hex[:8]}"
    return program(contestant.name, contestant.command(group), contestant.environment(group), lasting=True)


def throughput(contestant: Contestant, route: Route, window: Window) -> float:
    """Claims a second over one window, after the warm-up."""
    meter = Meter(route.bootstrap, route.scores, range(route.partitions))
    start = meter.total()
    with running(contestant) as started:
        meter.await_growth(start, 10_000, started.check)
        time.sleep(window.warm_up)
        before, then = meter.total(), time.monotonic()
        time.sleep(window.seconds)
        speed = (meter.total() - before) / (time.monotonic() - then)
        started.check()
        return speed


def alternate(
    contestants: Sequence[Contestant], route: Route, window: Window, rounds: int
) -> list[dict[str, float]]:
    """One throughput a contestant and round; contestants of one round are neighbours in time."""
    return [{each.name: throughput(each, route, window) for each in contestants} for _ in range(rounds)]


class Slices:
    """Two programs that are stopped and go on in turn, seconds at a time: the machine's moods reach both alike."""

    def __init__(self, settle: float, seconds: float) -> None:
        self._settle = settle
        self._seconds = seconds

    def speed(self, program: Pausable) -> float:
        """Claims a second over one slice; the program stands still before and after."""
        program.go_on()
        time.sleep(self._settle)
        before, then = program.total(), time.monotonic()
        time.sleep(self._seconds)
        speed = (program.total() - before) / (time.monotonic() - then)
        program.stop()
        return speed


class PausedStage:
    """A running stage, all its processes; standing still for longer than its session costs it its partitions."""

    def __init__(self, program: Program, meter: Meter) -> None:
        self._program = program
        self._meter = meter

    def total(self) -> int:
        self._program.check()
        return self._meter.total()

    def stop(self) -> None:
        os.killpg(self._program.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        # One that has ended stays where it is; `total` says so.
        with suppress(ProcessLookupError):
            os.killpg(self._program.pid, signal.SIGCONT)


def stage(route: Route, model: str, workers: int, port: int, **more: str) -> Contestant:
    """claimstream itself."""

    def command(_: str) -> list[str]:
        options = [
            "--bootstrap",
            route.bootstrap,
            "--model",
            model,
            "--workers",
            str(workers),
            "--port",
            str(port),
        ]
        return [sys.executable, "-m", "stream", "run", *options]

    def environment(group: str) -> dict[str, str]:
        return {
            "CLAIMSTREAM_KAFKA__TOPICS__INPUT": route.claims,
            "CLAIMSTREAM_KAFKA__TOPICS__OUTPUT": route.scores,
            "CLAIMSTREAM_KAFKA__TOPICS__DEAD_LETTERS": route.dead_letters,
            "CLAIMSTREAM_KAFKA__GROUP_ID": group,
            **more,
        }

    return Contestant("stage" if workers == 1 else f"stage x {workers}", command, environment)


def rival(route: Route, kind: str, batch: int) -> Contestant:
    """The plain loop, or consume and produce alone (bench/rival.py)."""

    def command(group: str) -> list[str]:
        where = [route.bootstrap, route.claims, route.scores, group]
        return [sys.executable, "-m", "bench.rival", *where, kind, str(batch)]

    return Contestant(f"{kind} {batch}", command, lambda _: {})


def one_round(contestants: Mapping[str, Callable[[], object]], claims: int, number: int) -> dict[str, float]:
    """Claims a second of each; whoever goes first in one round goes last in the next."""
    names = list(contestants)
    speeds: dict[str, float] = {}
    for name in names if number % 2 else names[::-1]:
        start = time.perf_counter()
        contestants[name]()
        speeds[name] = claims / (time.perf_counter() - start)
    return speeds
