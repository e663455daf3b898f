"""Something that is slower for a while: a slow output, a device slowed by a neighbour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Disturbance:
    """From each moment on, in seconds, work takes `factor` times as long; infinity stands still. At first it is 1.

    `changes` are (moment, factor); moments ascend. Raises ValueError for others.
    """

    changes: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if any(later <= earlier for (earlier, _), (later, _) in pairwise(self.changes)):
            raise ValueError(f"the moments of a disturbance must ascend: {self.changes}")
        if not all(math.isfinite(moment) and factor > 0 for moment, factor in self.changes):
            raise ValueError(f"a disturbance needs finite moments and factors above 0: {self.changes}")
        if self.changes and math.isinf(self.changes[-1][1]):
            raise ValueError(f"a disturbance that stands still must end: {self.changes}")

    def finish(self, start: float, seconds: float) -> float:
        """When work that takes `seconds` undisturbed ends, begun at `start`: what is left goes on at each new speed."""
        now, factor = start, 1.0
        for moment, following in self.changes:
            if moment > now:
                if (done := (moment - now) / factor) >= seconds:
                    break
                now, seconds = moment, seconds - done
            factor = following
        return now + seconds * factor
