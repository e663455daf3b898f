"""Claims put onto a topic at a rate, and waiting for their scores."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from bench.programs import Program, program
from bench.windows import Route
from stream.clock import SystemClock
from stream.demonstration.receiver import Receiver
from stream.topics import ensure_topics, stage_topics

_PATIENCE = 60.0

# Called now and then while something is waited for; raises RuntimeError when it will not come any more.
Check = Callable[[], object]


def together(*checks: Check) -> Check:
    """All of them as one."""

    def check() -> None:
        for each in checks:
            each()

    return check


def receiving(route: Route) -> Receiver:
    """A receiver of the scores, at work; the topics are made when they are not there."""
    client = {"bootstrap.servers": route.bootstrap}
    ensure_topics(client, stage_topics(route.claims, route.scores, route.dead_letters, route.partitions, 1))
    receiver = Receiver(client, route.scores, SystemClock())
    receiver.start()
    return receiver


def publishing(route: Route, count: int, *pace: str) -> AbstractContextManager[Program]:
    """`claimstream publish` of generated claims, in a process of its own; `pace` are its options."""
    what = ["publish", "--generate", str(count), "--topic", route.claims, "--bootstrap", route.bootstrap]
    return program("publish", [sys.executable, "-m", "stream", *what, *pace], {}, lasting=False)


def publish(route: Route, count: int, *pace: str) -> None:
    """The same to its end. Raises RuntimeError where it failed."""
    with publishing(route, count, *pace) as publisher:
        publisher.finish()


def at_rate(route: Route, rate: float, seconds: float) -> AbstractContextManager[Program]:
    """A Poisson process of so many claims a second."""
    return publishing(route, int(rate * seconds), "--rate", f"{rate:.0f}")


def publish_at_rate(route: Route, rate: float, seconds: float) -> int:
    """The same to its end; how many claims those were. Raises RuntimeError where it failed."""
    with at_rate(route, rate, seconds) as publisher:
        publisher.finish()
    return int(rate * seconds)


def replay(route: Route, count: int, recording: Path) -> None:
    """The arrivals of a recording, to their end. Raises RuntimeError where that failed."""
    publish(route, count, "--replay", str(recording))


def came(receiver: Receiver, claims: int, check: Check) -> bool:
    """Wait for so many scores in all; False when no further score comes for a minute."""
    seen, deadline = receiver.count, time.monotonic() + _PATIENCE
    while receiver.count < claims:
        if receiver.count > seen:
            seen, deadline = receiver.count, time.monotonic() + _PATIENCE
        if time.monotonic() > deadline:
            return False
        check()
        time.sleep(0.05)
    return True


def await_scores(receiver: Receiver, claims: int, check: Check) -> None:
    """Wait for so many scores in all. Raises RuntimeError when no further score comes for a minute."""
    if not came(receiver, claims, check):
        raise RuntimeError(f"{receiver.count} of {claims} scores came, and no more for a minute")


def warmed_up(route: Route, receiver: Receiver, claims: int, check: Check) -> None:
    """Returns when the first claims have been scored."""
    await_scores(receiver, receiver.count + publish_at_rate(route, claims, 1.0), check)


def drained(route: Route, receiver: Receiver, count: int, check: Check) -> float:
    """Claims a second that come out of a backlog, the second half of it."""
    first = receiver.count
    publish(route, count)
    await_scores(receiver, first + count // 2, check)
    half, then = receiver.count, time.monotonic()
    await_scores(receiver, first + count, check)
    return (first + count - half) / (time.monotonic() - then)


def flood(route: Route, receiver: Receiver, rate: float, seconds: float, check: Check) -> float:
    """Claims a second that come out while more are going in; returns when all have come out."""
    first = receiver.count
    with at_rate(route, rate, seconds) as publisher:
        await_scores(receiver, first + int(rate * seconds / 4), together(check, publisher.check))
        before, then = receiver.count, time.monotonic()
        publisher.finish()
    capacity = (receiver.count - before) / (time.monotonic() - then)
    await_scores(receiver, first + int(rate * seconds), check)
    return capacity
