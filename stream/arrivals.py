"""How fast claims come, from those that came: pure."""

from __future__ import annotations

import math

# So many times its memory ago, the correction of a count for its past is 1 to the last bit.
_LONG = 40.0


class _Count:
    """Claims of the past, each counting less the longer ago it came; `memory` is in seconds."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._value = 0.0

    def note(self, count: int, age: float) -> None:
        """So many came now, `age` seconds after the last."""
        self._value = self._value * math.exp(-age / self._memory) + count

    def rate(self, age: float, past: float) -> float:
        """A second; `past` seconds after the first came, which a short past is corrected for."""
        rate = self._value * math.exp(-age / self._memory) / self._memory
        return rate if past > _LONG * self._memory else rate / -math.expm1(-past / self._memory)


class ArrivalRate:
    """Claims a second, as the larger of a quick and a slow count with exponential forgetting.

    The quick one sees a burst begin, the slow one remembers it for a while. A clock that goes backwards counts as one
    that stands still.
    """

    def __init__(self, quick: float = 0.02, slow: float = 0.5) -> None:
        self._quick = _Count(quick)
        self._slow = _Count(slow)
        self._first: float | None = None
        self._last = 0.0

    def note(self, count: int, now: float) -> None:
        """So many claims came."""
        if self._first is None:
            self._first = self._last = now
        age = self.silence(now)
        self._quick.note(count, age)
        self._slow.note(count, age)
        self._last = max(now, self._last)

    def silence(self, now: float) -> float:
        """Seconds since the last one came."""
        return max(now - self._last, 0.0)

    def at(self, now: float) -> float:
        """Claims a second; 0 before any came."""
        if self._first is None:
            return 0.0
        age, past = self.silence(now), max(now - self._first, 1e-3)
        return max(self._quick.rate(age, past), self._slow.rate(age, past))
