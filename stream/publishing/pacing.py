"""How many claims are due after some time: pure, so that a rate can be tested without waiting."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

CHUNK = 4_096


class Arrivals(Enum):
    """How claims are spread over time at a given rate."""

    POISSON = "poisson"
    EVEN = "even"


class Pacer(Protocol):
    """Arrival times are seconds since the first call for claims; they never go backwards."""

    def due(self, elapsed: float) -> int:
        """How many claims have arrived `elapsed` seconds after the start."""

    def arrival(self, number: int) -> float:
        """When claim `number` (from 0) arrives."""


class EvenPacer:
    """One claim every 1/rate seconds, the first at 0."""

    def __init__(self, rate: float) -> None:
        self._rate = _checked(rate)

    def due(self, elapsed: float) -> int:
        return 0 if elapsed < 0 else int(elapsed * self._rate) + 1

    def arrival(self, number: int) -> float:
        return number / self._rate


class PoissonPacer:
    """Exponential gaps of mean 1/rate from a seeded generator."""

    def __init__(self, rate: float, seed: int) -> None:
        self._gap = 1 / _checked(rate)
        self._rng = np.random.Generator(np.random.Philox(key=seed))
        self._first = 0
        self._times: npt.NDArray[np.float64] = np.zeros(0)
        self._last = 0.0

    def due(self, elapsed: float) -> int:
        """`elapsed` must not fall below that of an earlier call."""
        while self._last <= elapsed:
            self._extend(elapsed)
        return self._first + int(np.searchsorted(self._times, elapsed, side="right"))

    def arrival(self, number: int) -> float:
        """`number` must not lie before the claims that were due already."""
        while number >= self._first + len(self._times):
            self._extend(self._times[0] if len(self._times) else 0.0)
        return float(self._times[number - self._first])

    def _extend(self, settled: float) -> None:
        """Draw further arrivals and forget those before `settled`, the last one aside."""
        passed = max(int(np.searchsorted(self._times, settled, side="right")) - 1, 0)
        drawn = self._last + np.cumsum(self._rng.exponential(self._gap, CHUNK))
        self._times = np.concatenate([self._times[passed:], drawn])
        self._first += passed
        self._last = float(drawn[-1])


def pacer(rate: float, arrivals: Arrivals, seed: int) -> Pacer:
    """Raises ValueError unless `rate` is a positive number of claims per second."""
    return EvenPacer(rate) if arrivals is Arrivals.EVEN else PoissonPacer(rate, seed)


def _checked(rate: float) -> float:
    if not (np.isfinite(rate) and rate > 0):
        raise ValueError(f"the rate must be a positive number of claims per second: {rate}")
    return rate
