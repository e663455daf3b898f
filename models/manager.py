"""The public face of the cache: for threads, and the same for coroutines."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from models.aliases import LATEST
from models.assembly import Assembled, CacheOptions, assemble
from models.claims import Claims
from models.errors import LoadTimeoutError, ModelError, UnreachableError
from models.flights import Ticket
from models.inference import BatchResults, BatchSize, infer
from models.null import NAME as NULL
from models.priority import ModelPriority
from models.release import Release, VersionKey
from models.status import CacheStatus, Walks, status_of
from models.supply import NULL_KEY, ModelSupply
from models.tiers.lease import Lease

log = logging.getLogger(__name__)

_MAINTENANCE_SECONDS = 30.0
_LOOK_SECONDS = 0.05
_AUTO_WITHOUT_MANIFEST = 512


class SyncModelCacheManager:
    """Leases of models and inference with them, from any thread. Limits are in 10^9 bytes; those not given are
    the options'.

    Raises UnavailableError when memory cannot be shared in the folder that `options` names.
    """

    def __init__(
        self,
        l1_memory_limit_gb: float | None = None,
        l2_redis_limit_gb: float | None = None,
        gpu_memory_limit_gb: float | None = None,
        *,
        options: CacheOptions | None = None,
    ) -> None:
        self.options = (options or CacheOptions()).limited(
            l1_memory_limit_gb, l2_redis_limit_gb, gpu_memory_limit_gb
        )
        self._parts: Assembled = assemble(self.options, time.monotonic, time.time)
        self.supply = ModelSupply(self._parts, self.options)
        self._walks = Walks(time.monotonic)
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="cache-maintenance", daemon=True)
        self._keeper.start()

    @property
    def device(self) -> str:
        """Where models score: `cpu`, or a GPU such as `cuda:0`."""
        return self._parts.device

    def get_model(
        self,
        model_name: str,
        version: str = "latest",
        priority_level: ModelPriority | None = None,
        timeout: float | None = None,
    ) -> Lease:
        """A lease of the model, loaded if need be; the model stays until it is released.

        Without `priority_level` its priority stays that of the options, or medium. An alias in shares means its oldest
        version here; the stage divides claims by their key.
        Raises UnknownModelError naming the nearest, LoadTimeoutError after `timeout` seconds (default:
        `load_timeout_s` of the options), TooLargeError, ManifestError or ArtifactError.
        """
        if model_name == NULL and (built_in := self.supply.resident(NULL_KEY)) is not None:
            return built_in
        release = self.release_of(model_name, version, priority_level)
        return self._parts.cache.get(release, self.options.load_timeout_s if timeout is None else timeout)

    def resident(self, model_name: str, version: str = "latest") -> Lease | None:
        """A lease if the model is on the device; never waits. Raises UnknownModelError."""
        if model_name == NULL:
            return self.supply.resident(NULL_KEY)
        return self._parts.cache.resident(self._parts.resolver.release(model_name, version).key)

    def batch_inference(
        self, model_name: str, inputs: Claims, batch_size: BatchSize = "auto", version: str = "latest"
    ) -> BatchResults:
        """Scores of claims, in their order; "auto" takes the batch size that the version recommends.

        `inputs`: a record batch, a table, or dictionaries, with the columns of `claim_event`. Raises FeatureError for
        claims that the model cannot read.
        """
        with self.get_model(model_name, version) as model:
            return infer(model, inputs, self.size_of(model_name, version, batch_size))

    def preload(
        self,
        model_names: Iterable[str],
        priority_level: ModelPriority | None = None,
        *,
        pin: bool = False,
    ) -> list[VersionKey]:
        """Load models now; pinned ones are never evicted. Raises what `get_model` raises, at the first that fails."""
        loaded = []
        for name in model_names:
            lease = self.get_model(name, priority_level=priority_level)
            if pin:
                self._parts.appraisals.pin(lease.key)
            lease.release()
            loaded.append(lease.key)
        return loaded

    def evict(self, model_name: str, version: str = "latest") -> list[str]:
        """Let a model go from device and memory; the names of the tiers that did. A leased one stays."""
        key = self._parts.resolver.release(model_name, version).key
        return [str(tier) for tier in self._parts.cache.evict(key)]

    def status(self, repository_age_s: float = 0.0) -> CacheStatus:
        """Budgets, entries, hit rates, load times; the repository as it was at most so many seconds ago."""
        return status_of(self._parts.cache, self._walks, repository_age_s)

    def maintain(self) -> None:
        """Renew what is in demand, let go what expired, and bring back to the device what has room there again."""
        cache = self._parts.cache
        cache.maintain()
        for key in cache.misplaced():
            try:
                self._bring_back(key)
            except (UnreachableError, LoadTimeoutError) as error:
                # That may pass, and would be the same for the others.
                log.warning("%s: not brought back to the device now: %s", key, error)
                return
            except (ModelError, OSError) as error:
                # It would be said each time, and keep the rest waiting: whoever asks for it is told, too.
                self._parts.appraisals.idle(key)
                log.warning("%s: not brought back to the device until it is asked for: %s", key, error)

    def close(self) -> None:
        """Give loads up and let everything go; a second time does nothing."""
        if not self._closed.is_set():
            self._closed.set()
            self._parts.cache.cease()
            self._keeper.join()
            self.supply.close()
            self._parts.cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def release_of(self, name: str, version: str, priority: ModelPriority | None) -> Release:
        """The version that a name means now, to be cached with that priority."""
        release = self._parts.resolver.release(name, version)
        if (chosen := self.options.priorities.get(name) if priority is None else priority) is not None:
            asked = name if version == LATEST else f"{name}:{version}"
            self._parts.appraisals.prioritize([release.key], asked, chosen)
        return release

    def join(self, release: Release, timeout: float | None) -> Ticket[Lease]:
        """A part in the load of a version, for who waits in its own way."""
        budget = self.options.load_timeout_s if timeout is None else timeout
        return self._parts.cache.request(release, budget)

    def take(self, ticket: Ticket[Lease]) -> Lease:
        """The lease that a load brought."""
        return self._parts.cache.take(ticket)

    def size_of(self, name: str, version: str, batch_size: BatchSize) -> int:
        """Claims of a micro-batch: as asked, or as the version recommends."""
        if batch_size != "auto":
            if batch_size < 1:
                raise ModelError(f'batch_size {batch_size} is no size; give 1 or more, or "auto"')
            return batch_size
        if name == NULL:
            return _AUTO_WITHOUT_MANIFEST
        return self._parts.resolver.release(name, version).manifest.batch.recommended

    def _bring_back(self, key: VersionKey) -> None:
        """If it has room. Nobody asked for it, so it counts as no look-up. Raises what ended the load."""
        release = self._parts.repository.release(key.name, key.version)
        if release.key != key or not self._parts.cache.tiers.device.fits(release):
            return
        ticket = self.join(release, None)
        try:
            while not (loading := ticket.future).done():
                if self._closed.wait(_LOOK_SECONDS):
                    return
            loading.result()
        finally:
            ticket.leave()

    def _keep(self) -> None:
        while not self._closed.wait(_MAINTENANCE_SECONDS):
            try:
                self.maintain()
            except (ModelError, OSError) as error:
                log.warning("the cache is not tidied up now: %s", error)


class MLModelCacheManager:
    """The same for coroutines: nothing here blocks the event loop."""

    def __init__(
        self,
        l1_memory_limit_gb: float | None = None,
        l2_redis_limit_gb: float | None = None,
        gpu_memory_limit_gb: float | None = None,
        *,
        options: CacheOptions | None = None,
    ) -> None:
        self.sync = SyncModelCacheManager(
            l1_memory_limit_gb, l2_redis_limit_gb, gpu_memory_limit_gb, options=options
        )

    async def get_model(
        self,
        model_name: str,
        version: str = "latest",
        priority_level: ModelPriority | None = None,
        timeout: float | None = None,
    ) -> Lease:
        """As `SyncModelCacheManager.get_model`. A cancelled call waits no longer; others' loads go on."""
        if model_name == NULL and (lease := self.sync.supply.resident(NULL_KEY)) is not None:
            return lease
        release = await asyncio.to_thread(self.sync.release_of, model_name, version, priority_level)
        if (lease := self.sync.supply.resident(release.key)) is not None:
            return lease
        # Joined here and not in a thread: a call that is cancelled must know the ticket that it has to leave.
        ticket = self.sync.join(release, timeout)
        try:
            landed = asyncio.shield(asyncio.wrap_future(ticket.future))
            await asyncio.wait_for(landed, ticket.remaining())
            return self.sync.take(ticket)
        except TimeoutError:
            raise ticket.late() from None
        finally:
            ticket.leave()

    async def batch_inference(
        self, model_name: str, inputs: Claims, batch_size: BatchSize = "auto", version: str = "latest"
    ) -> BatchResults:
        """As `SyncModelCacheManager.batch_inference`."""
        lease = await self.get_model(model_name, version)
        try:
            size = await asyncio.to_thread(self.sync.size_of, model_name, version, batch_size)
            return await asyncio.to_thread(infer, lease.model, inputs, size)
        finally:
            lease.release()

    async def preload(
        self,
        model_names: Iterable[str],
        priority_level: ModelPriority | None = None,
        *,
        pin: bool = False,
    ) -> list[VersionKey]:
        """As `SyncModelCacheManager.preload`."""
        return await asyncio.to_thread(self.sync.preload, list(model_names), priority_level, pin=pin)

    async def evict(self, model_name: str, version: str = "latest") -> list[str]:
        """As `SyncModelCacheManager.evict`."""
        return await asyncio.to_thread(self.sync.evict, model_name, version)

    async def status(self) -> CacheStatus:
        """As `SyncModelCacheManager.status`."""
        return await asyncio.to_thread(self.sync.status)

    async def close(self) -> None:
        """As `SyncModelCacheManager.close`."""
        await asyncio.to_thread(self.sync.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
