"""Builds a cache from its options."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from models.appraisal import Appraisals
from models.cache import ModelCache, Tiers
from models.demand import Demand
from models.devices import CPU, place
from models.eviction import Rules
from models.priority import ModelPriority
from models.protocols import Model
from models.release import Content, Release
from models.repository import Repository
from models.resolver import Resolver
from models.tiers.budget import Budget
from models.tiers.device import DeviceTier
from models.tiers.memory import Lifetime, MemoryTier
from models.tiers.pool import SHARED_MEMORY, Pool, default_folder
from models.tiers.protocol import ByteTier
from models.tiers.repository import RepositoryTier

log = logging.getLogger(__name__)

GIGABYTE = 1_000_000_000


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Bytes, seconds and places of a cache.

    `repository`: None for what ships. `memory_folder`: None for shared memory, or the temporary files where that is
    too small. `device`: as `models.devices.place` takes it; `devices`: those of all workers of an instance, of which
    each on the same GPU gets an equal part of `device_bytes`. `reserved_share`: part of the device's budget that only
    models of priority high and critical may use. `threads` are those of one forward on a CPU, `warm_sizes` the
    batches that a model is tried with before anybody gets it. `priorities` are by the names that people write.
    """

    device_bytes: int = 4 * GIGABYTE
    memory_bytes: int = 2 * GIGABYTE
    redis_bytes: int = 8 * GIGABYTE
    repository: Path | None = None
    redis_url: str | None = "redis://127.0.0.1:6379/0"
    memory_folder: Path | None = None
    device: str = "auto"
    devices: tuple[str, ...] = ()
    precision: str = "fp32"
    ttl_s: float = 1_800.0
    idle_s: float = 600.0
    redis_ttl_s: float = 14_400.0
    redis_idle_s: float = 3_600.0
    load_timeout_s: float = 60.0
    reserved_share: float = 0.0
    threads: int | None = None
    warm_sizes: tuple[int, ...] = (1,)
    priorities: Mapping[str, ModelPriority] = field(default_factory=dict)
    protection_s: float = 1.0

    def limited(
        self, memory_gb: float | None, redis_gb: float | None, device_gb: float | None
    ) -> CacheOptions:
        """The same with these budgets, in 10^9 bytes, where they are given."""
        given = {"memory_bytes": memory_gb, "redis_bytes": redis_gb, "device_bytes": device_gb}
        return replace(self, **{name: int(gb * GIGABYTE) for name, gb in given.items() if gb is not None})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Assembled:
    """A cache and what belongs to it."""

    cache: ModelCache
    resolver: Resolver
    appraisals: Appraisals
    repository: Repository
    device: str


def assemble(options: CacheOptions, now: Callable[[], float], wall: Callable[[], float]) -> Assembled:
    """Raises UnavailableError for a folder, a device or a Redis URL that cannot be used."""
    device = place(options.device)
    repository = Repository(options.repository)
    appraisals = Appraisals(Demand(), now)
    tiers = Tiers(
        _device_tier(options, device, appraisals, now),
        _memory_tier(options, appraisals, now, wall),
        _redis_tier(options, appraisals, now),
        RepositoryTier(repository),
    )
    cache = ModelCache(tiers, appraisals, now, shares_pages=device == CPU, prepare=_import_loading)
    return Assembled(cache, Resolver(repository, now), appraisals, repository, device)


def _device_tier(
    options: CacheOptions, device: str, appraisals: Appraisals, now: Callable[[], float]
) -> DeviceTier:
    # Where a model is a view of pages in RAM, what does not fit there does not fit the device either.
    workers = sharers(device, options.devices)
    size = (
        min(options.device_bytes, options.memory_bytes) if device == CPU else options.device_bytes // workers
    )
    rules = Rules(size, int(options.reserved_share * size), options.protection_s)
    divided = f", divided among {workers} workers" if workers > 1 else ""
    budget = Budget(f"the budget of {device} (gpu_memory_gb{divided})", rules, appraisals.appraise, now)
    return DeviceTier(partial(_build, options, device), budget, options.idle_s, now)


def sharers(device: str, wanted: Sequence[str], placed: Callable[[str], str] = place) -> int:
    """Workers that have this GPU, of those that want these places; on a CPU each counts alone.

    A GPU that another worker wants and that is not there is that worker's error.
    """
    if device == CPU:
        return 1
    return max(
        1, sum(name == device or (name.startswith("auto") and placed(name) == device) for name in wanted)
    )


def _memory_tier(
    options: CacheOptions, appraisals: Appraisals, now: Callable[[], float], wall: Callable[[], float]
) -> MemoryTier:
    rules = Rules(options.memory_bytes, 0, options.protection_s)
    budget = Budget("the budget of RAM (l1_memory_gb)", rules, appraisals.appraise, now)
    return MemoryTier(open_pool(options), budget, Lifetime(options.ttl_s, options.idle_s), wall)


def _redis_tier(options: CacheOptions, appraisals: Appraisals, now: Callable[[], float]) -> ByteTier | None:
    if not options.redis_url or not options.redis_bytes:
        return None
    # The client takes a third of a second to import, which who has no Redis does not owe.
    from models.tiers.redis import RedisTier

    rules = Rules(options.redis_bytes, 0, options.protection_s)
    budget = Budget("the budget of Redis (l2_redis_gb)", rules, appraisals.appraise, now)
    return RedisTier(options.redis_url, budget, Lifetime(options.redis_ttl_s, options.redis_idle_s), now)


def _import_loading() -> None:
    """torch takes seconds to import, which whoever only looks at a repository does not owe, nor any model's load."""
    import models.loading  # noqa: F401 - only to have it


def _build(options: CacheOptions, device: str, release: Release, content: Content) -> Model:
    """A model, tried with the batches in use before anybody gets it."""
    from models.loading import build

    model = build(
        release.manifest, content, precision=options.precision, device=device, threads=options.threads
    )
    model.warm_up(options.warm_sizes)
    return model


def open_pool(options: CacheOptions) -> Pool:
    """The folder that was named; else shared memory, with one warning where that is too small.

    Raises UnavailableError.
    """
    if options.memory_folder is not None:
        return Pool(options.memory_folder, options.memory_bytes)
    folder = default_folder(options.memory_bytes)
    if SHARED_MEMORY not in folder.parents:
        log.warning(
            "%s has less than %d bytes free; models are kept in %s, which may be on a disk: "
            "make it larger (docker run --shm-size) or set cache.memory_folder",
            SHARED_MEMORY,
            options.memory_bytes,
            folder,
        )
    return Pool(folder, options.memory_bytes)
