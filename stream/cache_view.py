"""The caches of all workers as one: what processes share is shown once, what each has for itself is summed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from models import CacheStatus, TierStatus, hit_rates

_OWN = "device"


def instance_view(workers: Sequence[CacheStatus]) -> dict[str, Any]:
    """`/ml/cache/status`: tiers nearest first, hit rates over all look-ups, what is being loaded."""
    names = [tier.tier for tier in workers[0].tiers] if workers else []
    tiers = [
        _tier([tier for worker in workers for tier in worker.tiers if tier.tier == name]) for name in names
    ]
    rates = hit_rates({tier["tier"]: tier["served"] for tier in tiers})
    return {
        "workers": len(workers),
        "hit_rate_l1": rates.l1,
        "hit_rate_l2": rates.l2,
        "hit_rate": rates.overall,
        "loading": sorted({name for worker in workers for name in worker.loading}),
        "uncached_bytes": sum(worker.uncached_bytes for worker in workers),
        "tiers": tiers,
    }


def _tier(parts: Sequence[TierStatus]) -> dict[str, Any]:
    """One tier: bytes and entries of a shared one as its latest reader saw them, those of devices of all workers."""
    own = parts[0].tier == _OWN
    slowest = [part.load_max_s for part in parts if part.load_max_s is not None]
    return {
        "tier": parts[0].tier,
        "budget": parts[0].budget,
        "used": [part.used for part in parts] if own else parts[-1].used,
        "served": sum(part.served for part in parts),
        "bytes_loaded": sum(part.bytes_loaded for part in parts),
        "load_max_s": max(slowest, default=None),
        "entries": list(_merged(parts).values()),
    }


def _merged(parts: Sequence[TierStatus]) -> Mapping[tuple[str, str], dict[str, Any]]:
    """An entry once: hits of all workers, the shortest idle time.

    Leases on devices are each worker's own; those in a shared tier every worker sees, so that the most seen count.
    """
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for part in parts:
        for entry in part.entries:
            seen = merged.setdefault((entry.model, entry.version), {**asdict(entry), "hits": 0, "leases": 0})
            seen["hits"] += entry.hits
            own = part.tier == _OWN
            seen["leases"] = seen["leases"] + entry.leases if own else max(seen["leases"], entry.leases)
            seen["idle_s"] = min(seen["idle_s"], entry.idle_s)
    return merged
