"""How many claims are due after some time: pure, so that a rate can be tested without waiting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from stream.publishing.arrivals import Floats
from stream.publishing.patterns import Pattern


class Pacer(Protocol):
    """Arrival times are seconds since the first call for claims; they never go backwards."""

    def due(self, elapsed: float, most: int) -> int:
        """How many claims have arrived `elapsed` seconds after the start, counted up to `most`."""

    def arrival(self, number: int) -> float:
        """When claim `number` (from 0) arrives."""


class ArrivalPacer:
    """Claims are due at given times, which come in chunks; there may be no end of them."""

    def __init__(self, chunks: Iterator[Floats]) -> None:
        self._chunks = chunks
        self._first = 0
        self._times: Floats = np.zeros(0)
        self._ended = False

    def due(self, elapsed: float, most: int) -> int:
        """`elapsed` must not fall below that of an earlier call; no more arrivals are drawn than `most` asks for."""
        while not self._ended and self._known < most and (not len(self._times) or self._times[-1] <= elapsed):
            self._extend(elapsed)
        return min(self._first + int(np.searchsorted(self._times, elapsed, side="right")), most)

    def arrival(self, number: int) -> float:
        """`number` must not lie before the claims that were due already. Raises IndexError past the last arrival."""
        while not self._ended and number >= self._known:
            self._extend(self._times[0] if len(self._times) else 0.0)
        return float(self._times[number - self._first])

    @property
    def _known(self) -> int:
        """How many arrivals were drawn so far."""
        return self._first + len(self._times)

    def _extend(self, settled: float) -> None:
        """Fetch further arrivals and forget those before `settled`, the last one aside."""
        passed = max(int(np.searchsorted(self._times, settled, side="right")) - 1, 0)
        chunk = next(self._chunks, None)
        if chunk is None:
            self._ended = True
            return
        self._times = np.concatenate([self._times[passed:], chunk])
        self._first += passed


def pacer(rate: float, pattern: Pattern, seed: int) -> Pacer:
    """Raises ValueError unless `rate` is a positive number of claims per second."""
    return ArrivalPacer(pattern.arrivals(rate, seed))
