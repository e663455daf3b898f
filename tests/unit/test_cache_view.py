"""Many caches as one."""

from __future__ import annotations

from models import CacheStatus, TierStatus
from models.status import EntryStatus
from stream.cache_view import instance_view


def entry(idle: float, hits: int, leases: int) -> EntryStatus:
    return EntryStatus("a", "1.0.0", 100, 5.0, idle, hits, leases, 0.5, pinned=False)


def worker(device_hits: int, memory: int, redis: int, repository: int) -> CacheStatus:
    tiers = (
        TierStatus("device", 1_000, 100, (entry(1.0, device_hits, 1),), device_hits, None, None, 0),
        TierStatus("memory", 2_000, 100, (entry(2.0, memory, 1),), memory, 0.1, 0.2, 100 * memory),
        TierStatus("redis", 8_000, 0, (), redis, None, None, 0),
        TierStatus(
            "repository", None, 100, (entry(9.0, repository, 0),), repository, 0.5, 0.7, 100 * repository
        ),
    )
    return CacheStatus(tiers, None, None, None, ("b:1.0.0",), 7)


def test_what_is_shared_counts_once_and_what_is_not_is_summed() -> None:
    view = instance_view([worker(90, 4, 2, 1), worker(0, 1, 1, 1)])
    assert [tier["entries"][0]["leases"] for tier in view["tiers"] if tier["entries"]] == [2, 1, 0]
    device, memory, redis, repository = view["tiers"]
    assert (view["workers"], view["loading"], view["uncached_bytes"]) == (2, ["b:1.0.0"], 14)
    assert (device["used"], memory["used"], redis["used"]) == ([100, 100], 100, 0)
    assert (device["served"], memory["served"], repository["bytes_loaded"]) == (90, 5, 200)
    assert (device["entries"][0]["hits"], device["entries"][0]["leases"]) == (90, 2)
    assert (repository["load_max_s"], redis["load_max_s"]) == (0.7, None)
    assert (view["hit_rate_l1"], view["hit_rate_l2"], view["hit_rate"]) == (0.95, 0.6, 0.98)


def test_without_workers_there_is_nothing_to_show() -> None:
    view = instance_view([])
    assert (view["workers"], view["tiers"], view["hit_rate"]) == (0, [], None)
