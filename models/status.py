"""What the cache holds and how it does, as plain values that travel."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.cache import ModelCache
from models.lookups import hit_rates
from models.tiers.protocol import Entry, Tier, TierName


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """One version in one tier; times in seconds."""

    model: str
    version: str
    bytes: int
    age_s: float
    idle_s: float
    hits: int
    leases: int
    load_s: float
    pinned: bool


@dataclass(frozen=True, slots=True)
class TierStatus:
    """One tier; `budget` is None where there is no bound. Load times are of the latest loads from it."""

    tier: str
    budget: int | None
    used: int
    entries: tuple[EntryStatus, ...]
    served: int
    load_p50_s: float | None
    load_max_s: float | None
    bytes_loaded: int


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """All tiers, nearest first; hit rates 0 to 1, None without look-ups.

    `uncached_bytes`: of models in memory of the process's own, beside that which all processes share.
    """

    tiers: tuple[TierStatus, ...]
    hit_rate_l1: float | None
    hit_rate_l2: float | None
    hit_rate: float | None
    loading: tuple[str, ...]
    uncached_bytes: int


class Walks:
    """Looks at tiers; one without a bound may hold so much that who looks often takes what was seen before."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seen: dict[TierName, tuple[float, list[Entry]]] = {}

    def entries(self, tier: Tier, oldest: float) -> list[Entry]:
        """What it holds; of a tier without a bound, what it held at most `oldest` seconds ago."""
        if tier.budget is not None:
            return tier.entries()
        seen = self._seen.get(tier.name)
        if seen is None or self._now() - seen[0] >= oldest:
            seen = self._seen[tier.name] = (self._now(), tier.entries())
        return seen[1]


def status_of(cache: ModelCache, walks: Walks, oldest: float) -> CacheStatus:
    """The state of this process's cache; of a tier without a bound as it was at most `oldest` seconds ago."""
    tiers = tuple(_tier(tier, cache, walks.entries(tier, oldest)) for tier in cache.tiers.all)
    rates = hit_rates(cache.served)
    loading = tuple(sorted(str(key) for key in cache.loading))
    return CacheStatus(tiers, rates.l1, rates.l2, rates.overall, loading, cache.private_bytes)


def _tier(tier: Tier, cache: ModelCache, entries: Sequence[Entry]) -> TierStatus:
    lookups = cache.lookups
    seconds = lookups.load_seconds(tier.name)
    return TierStatus(
        str(tier.name),
        tier.budget,
        # Where there is no bound nothing is being written either: no second walk through it.
        tier.used() if tier.budget is not None else sum(entry.bytes for entry in entries),
        tuple(map(_entry, entries)),
        cache.served[tier.name],
        statistics.median(seconds) if seconds else None,
        max(seconds) if seconds else None,
        lookups.bytes[tier.name],
    )


def _entry(entry: Entry) -> EntryStatus:
    return EntryStatus(
        entry.key.name,
        entry.key.version,
        entry.bytes,
        round(entry.age, 3),
        round(entry.idle, 3),
        entry.hits,
        entry.leases,
        round(entry.load_seconds, 4),
        entry.pinned,
    )
