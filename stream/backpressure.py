"""What presses, and what is done about it: pure, with hysteresis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from stream.batch_sizer import DeviceLoad

# Memory presses when so much of it is taken.
_AMPLE = 0.9

AHEAD = "ahead"


class Flow(Enum):
    """What intake does with its partitions: read, leave the client alone, take one record, or read none at all."""

    READ = "read"
    HOLD = "hold"
    TRICKLE = "trickle"
    PAUSE = "pause"


class Reading(NamedTuple):
    """What is done, and what keeps from reading: the fullest store, or what is `AHEAD`."""

    flow: Flow
    held_by: str = ""


READ = Reading(Flow.READ)


@dataclass(frozen=True, slots=True)
class GateLimits:
    """Fill is 0 to 1, the fullest of the bounded stores. The client is left alone for `patience` seconds at most.

    It has to be polled now and then, or it neither serves its group nor keeps its partitions. Where a store is full it
    is paused for that, also where the store filled a moment ago and something else had held before: what is ahead fills
    no store, so that only an output that is blocked does so then, and that lasts. Where enough is ahead already it
    gives one record: a pause would discard what it has prefetched, which would be fetched anew after each poll, as long
    as a backlog lasts.
    """

    high: float = 0.9
    low: float = 0.5
    patience: float = 0.3


class ReadingGate:
    """Says whether to read, and what keeps from it."""

    def __init__(self, limits: GateLimits) -> None:
        self._limits = limits
        self._held_since = 0.0
        self.reading = READ

    def decide(self, stores: Mapping[str, float], ahead: float, now: float) -> Reading:
        """From now on. `stores`: how full each is; `ahead`: what waits to be scored, as a share of what is enough."""
        before = self.reading.flow
        fullest = max(stores, key=stores.__getitem__)
        shut = self._limits.low if before is Flow.PAUSE else self._limits.high
        if stores[fullest] >= shut:
            flow = before if before is Flow.PAUSE else self._held(before, Flow.PAUSE, now)
            self.reading = Reading(flow, fullest)
        elif ahead >= self._limits.high:
            self.reading = Reading(self._held(before, Flow.TRICKLE, now), AHEAD)
        else:
            self.reading = READ
        return self.reading

    def _held(self, before: Flow, instead: Flow, now: float) -> Flow:
        """Hold, until patience ends."""
        if before is not Flow.HOLD:
            self._held_since = now
        return instead if now - self._held_since > self._limits.patience else Flow.HOLD


class Pressure:
    """One number, 0 to 1, of several stores and delays, each told as what it is of its bound.

    Up to half of a bound nothing presses, at the bound everything does; the worst part counts. It rises at once and
    takes `recovery` seconds to fall from one to nothing.
    """

    def __init__(self, recovery: float = 2.0) -> None:
        self._recovery = recovery
        self._at = 0.0
        self.value = 0.0
        self.parts: Mapping[str, float] = {}

    def update(self, parts: Mapping[str, float], now: float) -> float:
        """The pressure now. A clock that goes backwards counts as one that stands still."""
        passed = max(now - self._at, 0.0)
        self._at = max(now, self._at)
        self.parts = {name: min(max(2.0 * part - 1.0, 0.0), 1.0) for name, part in parts.items()}
        self.value = max(self.value - passed / self._recovery, *self.parts.values(), 0.0)
        return self.value


def scarcity(device: DeviceLoad) -> float:
    """Memory that others take as well, as what it is of its bound: from nine tenths on it presses, all of it wholly."""
    used = 1.0 - device.available / device.total
    return min(max(0.5 + (used - _AMPLE) / (2.0 * (1.0 - _AMPLE)), 0.0), 1.0)


def slowness(delivery: float, budget: float) -> float:
    """Seconds of delivery as what they are of their bound.

    They never press by more than half: batches that are shorter still would deliver fewer claims, not sooner ones.
    """
    return min(delivery / budget, 0.75)


class Crowding:
    """Whether so much is set aside that it has to go first: from half of its bound until it is down to a quarter."""

    def __init__(self, high: float = 0.5, low: float = 0.25) -> None:
        self._high = high
        self._low = low
        self.crowded = False

    def decide(self, fill: float) -> bool:
        """`fill`: claims set aside as a share of what may be in flight, or all bytes in flight, whichever is larger."""
        self.crowded = fill >= (self._low if self.crowded else self._high)
        return self.crowded
