"""Which tier served each look-up, and how long loads took."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass

from models.tiers.protocol import TierName

_KEPT = 512


@dataclass(frozen=True, slots=True)
class HitRates:
    """Shares, 0 to 1; None without traffic.

    L1: served by device or memory, of all look-ups. L2: served by Redis, of those that got that far. Overall: served
    by any of the three.
    """

    l1: float | None
    l2: float | None
    overall: float | None


class Lookups:
    """Counts from any thread."""

    def __init__(self) -> None:
        self._served: Counter[TierName] = Counter()
        self._seconds: dict[TierName, deque[float]] = {name: deque(maxlen=_KEPT) for name in TierName}
        self._bytes: Counter[TierName] = Counter()
        self._lock = threading.Lock()

    def served(self, tier: TierName) -> None:
        with self._lock:
            self._served[tier] += 1

    def loaded(self, tier: TierName, size: int, seconds: float) -> None:
        """A load from that tier brought so many bytes."""
        with self._lock:
            self._seconds[tier].append(seconds)
            self._bytes[tier] += size

    @property
    def counts(self) -> dict[TierName, int]:
        with self._lock:
            return {name: self._served[name] for name in TierName}

    @property
    def bytes(self) -> dict[TierName, int]:
        """Bytes that loads brought, by the tier that gave them."""
        with self._lock:
            return {name: self._bytes[name] for name in TierName}

    def load_seconds(self, tier: TierName) -> list[float]:
        """The latest loads from a tier."""
        with self._lock:
            return list(self._seconds[tier])

    def rates(self) -> HitRates:
        return hit_rates(self.counts)


def hit_rates(counts: dict[TierName, int]) -> HitRates:
    """The rates of so many look-ups served by each tier."""
    near = counts.get(TierName.DEVICE, 0) + counts.get(TierName.MEMORY, 0)
    redis, far = counts.get(TierName.REDIS, 0), counts.get(TierName.REPOSITORY, 0)
    return HitRates(
        _share(near, near + redis + far), _share(redis, redis + far), _share(near + redis, near + redis + far)
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
