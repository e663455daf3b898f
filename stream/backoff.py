"""How long to wait before the next try: capped exponential, with jitter so that many do not come at once: pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

Draw = Callable[[], float]

by_chance: Draw = random.SystemRandom().random
_LARGEST_EXPONENT = 60


@dataclass(frozen=True, slots=True)
class BackoffRule:
    """Seconds of the first wait, doubled by each failure up to `longest`; a part of up to `jitter` is left off."""

    first: float = 1.0
    longest: float = 30.0
    jitter: float = 0.25


class Backoff:
    """Counts failures in a row. `draw` gives numbers from 0 to 1."""

    def __init__(self, rule: BackoffRule | None = None, draw: Draw = by_chance) -> None:
        self._rule = rule or BackoffRule()
        self._draw = draw
        self.failures = 0

    def failed(self) -> float:
        """One more failure; the seconds to wait before the next try."""
        self.failures += 1
        doubled = self._rule.first * 2.0 ** min(self.failures - 1, _LARGEST_EXPONENT)
        return min(doubled, self._rule.longest) * (1.0 - self._rule.jitter * self._draw())

    def succeeded(self) -> None:
        """The next failure is a first one."""
        self.failures = 0
