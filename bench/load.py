"""Claims put onto a topic at a rate, and waiting for their scores."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.windows import Route
from stream.clock import SystemClock
from stream.demonstration.receiver import Receiver
from stream.topics import ensure_topics, stage_topics

_PATIENCE = 60.0


def receiving(route: Route) -> Receiver:
    """A receiver of the scores, at work; the topics are made when they are not there."""
    client = {"bootstrap.servers": route.bootstrap}
    ensure_topics(client, stage_topics(route.claims, route.scores, route.dead_letters, route.partitions, 1))
    receiver = Receiver(client, route.scores, SystemClock())
    receiver.start()
    return receiver


def publishing(route: Route, count: int, *pace: str) -> subprocess.Popen[bytes]:
    """`claimstream publish` of generated claims, in a process of its own; `pace` are its options."""
    what = ["publish", "--generate", str(count), "--topic", route.claims, "--bootstrap", route.bootstrap]
    return subprocess.Popen(
        [sys.executable, "-m", "stream", *what, *pace], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def at_rate(route: Route, rate: float, seconds: float) -> subprocess.Popen[bytes]:
    """A Poisson process of so many claims a second."""
    return publishing(route, int(rate * seconds), "--rate", f"{rate:.0f}")


def replayed(route: Route, count: int, recording: Path) -> subprocess.Popen[bytes]:
    """The arrivals of a recording."""
    return publishing(route, count, "--replay", str(recording))


def await_scores(receiver: Receiver, claims: int, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Does `meanwhile` now and then. Raises RuntimeError when no further score comes for a minute."""
    seen, deadline = receiver.count, time.monotonic() + _PATIENCE
    while receiver.count < claims:
        if receiver.count > seen:
            seen, deadline = receiver.count, time.monotonic() + _PATIENCE
        if time.monotonic() > deadline:
            raise RuntimeError(f"{receiver.count} of {claims} scores came, and no more for a minute")
        meanwhile()
        time.sleep(0.05)


def drained(route: Route, receiver: Receiver, count: int) -> float:
    """Claims a second that come out of a backlog, the second half of it."""
    first = receiver.count
    publishing(route, count).wait()
    await_scores(receiver, first + count // 2)
    half, then = receiver.count, time.monotonic()
    await_scores(receiver, first + count)
    return (first + count - half) / (time.monotonic() - then)


def flood(route: Route, receiver: Receiver, rate: float, seconds: float) -> float:
    """Claims a second that come out while more are going in; returns when all have come out."""
    first = receiver.count
    running = at_rate(route, rate, seconds)
    await_scores(receiver, first + int(rate * seconds / 4))
    before, then = receiver.count, time.monotonic()
    running.wait()
    capacity = (receiver.count - before) / (time.monotonic() - then)
    await_scores(receiver, first + int(rate * seconds))
    return capacity
