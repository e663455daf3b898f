"""What presses, and what is done about it: pure, with hysteresis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from stream.batch_sizer import DeviceLoad

# Memory presses when so much of it is taken.
_AMPLE = 0.9


class Flow(Enum):
    """What intake does with its partitions."""

    READ = "read"
    HOLD = "hold"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class GateLimits:
    """Fill is 0 to 1, the fullest of the bounded stores. A hold longer than `patience` seconds becomes a pause.

    Pausing discards what the client has prefetched, so a short block only stops reading.
    """

    high: float = 0.9
    low: float = 0.5
    patience: float = 0.3


class ReadingGate:
    """Turns one number into read, hold or pause."""

    def __init__(self, limits: GateLimits) -> None:
        self._limits = limits
        self._flow = Flow.READ
        self._held_since = 0.0

    @property
    def flow(self) -> Flow:
        return self._flow

    def decide(self, fill: float, now: float) -> Flow:
        """The flow from now on, given how full the fullest store is."""
        if self._flow is Flow.READ and fill >= self._limits.high:
            self._flow, self._held_since = Flow.HOLD, now
        elif self._flow is Flow.HOLD and fill < self._limits.high:
            self._flow = Flow.READ
        elif self._flow is Flow.HOLD and now - self._held_since > self._limits.patience:
            self._flow = Flow.PAUSE
        elif self._flow is Flow.PAUSE and fill < self._limits.low:
            self._flow = Flow.READ
        return self._flow


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


class Crowding:
    """Whether so much is set aside that it has to go first: from half of its bound until it is down to a quarter."""

    def __init__(self, high: float = 0.5, low: float = 0.25) -> None:
        self._high = high
        self._low = low
        self.crowded = False

    def decide(self, fill: float) -> bool:
        """`fill`: what is set aside, as a share of what may be in flight."""
        self.crowded = fill >= (self._low if self.crowded else self._high)
        return self.crowded
