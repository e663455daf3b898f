"""Time as a constructor argument: wall clock in service, a hand-wound one in tests."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings: `now` never goes backwards, `wall` is what Kafka's timestamps speak."""

    def now(self) -> float:
        """Seconds on a monotonic scale of unknown origin."""

    def wall(self) -> float:
        """Seconds since the epoch."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class ManualClock:
    """A clock that moves only when told to; both readings move together unless `step_wall` parts them."""

    def __init__(self, now: float = 1_000.0, wall: float = 1_700_000_000.0) -> None:
        self._now = now
        self._wall = wall

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("a monotonic clock does not go back; use step_wall")
        self._now += seconds
        self._wall += seconds

    def step_wall(self, seconds: float) -> None:
        """Move the wall clock alone, as NTP does."""
        self._wall += seconds
