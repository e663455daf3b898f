"""Whether to read on: pure, with hysteresis."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


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
