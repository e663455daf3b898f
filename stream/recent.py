"""A quantile of the latest values: pure."""

from __future__ import annotations

from collections import deque

# Sorting at every value would cost more than it tells.
_EVERY = 8


class RecentQuantile:
    """The `share` quantile of the last `window` values, brought up to date at every eighth of them."""

    def __init__(self, share: float, start: float = 0.0, window: int = 64) -> None:
        self._share = share
        self._values: deque[float] = deque(maxlen=window)
        self._noted = 0
        self.value = start

    def latest(self) -> tuple[float, ...]:
        """The values of the window; from any thread."""
        return tuple(self._values)

    def note(self, value: float) -> None:
        self._values.append(value)
        if self._noted < _EVERY or self._noted % _EVERY == 0:
            ranked = sorted(self._values)
            self.value = ranked[int(self._share * (len(ranked) - 1))]
        self._noted += 1
