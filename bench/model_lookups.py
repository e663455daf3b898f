"""What asking for a resident model costs, alone and in a crowd."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.report import Figure, spread
from models import CacheOptions, SyncModelCacheManager
from models.release import VersionKey
from models.supply import ModelSupply

_ROUND = 2_000


def measure_lookups(*, quick: bool) -> list[Figure]:
    """Lease and release of a resident model, as scoring does once a micro-batch."""
    rounds = 20 if quick else 200
    with TemporaryDirectory(prefix="claimstream-bench-") as folder:
        options = CacheOptions(memory_folder=Path(folder) / "pool", redis_url=None, device="cpu", threads=1)
        with SyncModelCacheManager(l1_memory_limit_gb=0.1, options=options) as manager:
            (key,) = manager.preload(["claims_filter_v2.1"])
            alone = _rounds(manager.supply, key, rounds)
            crowd = _crowd(manager.supply, key, 4, max(rounds // 4, 1))
    return [
        Figure(
            "lookup_us",
            statistics.median(alone),
            "µs",
            "≤ 10",
            f"{spread(alone)}; rounds of {_ROUND}, one thread",
        ),
        Figure(
            "lookup_contended_us",
            statistics.median(crowd),
            "µs",
            "≤ 30",
            f"{spread(crowd)}; each of four threads at once, on the same two cores",
        ),
    ]


def _rounds(supply: ModelSupply, key: VersionKey, rounds: int) -> list[float]:
    """Microseconds of one look-up in each round."""
    return [_round(supply, key) for _ in range(rounds)]


def _round(supply: ModelSupply, key: VersionKey) -> float:
    started = time.perf_counter()
    for _ in range(_ROUND):
        lease = supply.resident(key)
        if lease is None:
            raise RuntimeError(f"{key} left the device during the benchmark")
        lease.release()
    return 1e6 * (time.perf_counter() - started) / _ROUND


def _crowd(supply: ModelSupply, key: VersionKey, threads: int, rounds: int) -> list[float]:
    """The same from several threads at once: time that passes for each, the others' turns included."""
    times: list[float] = []
    start = threading.Barrier(threads)

    def run() -> None:
        start.wait()
        times.extend(_rounds(supply, key, rounds))

    crowd = [threading.Thread(target=run) for _ in range(threads)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    return times
