"""The cache: walks device, memory, Redis, repository; loads once for all who ask; promotes on the way back.

get ─▶ device ─▶ memory ─▶ Redis ─▶ repository
         ◀── build ──◀── verified bytes ◀──┘
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from models.appraisal import Appraisals
from models.errors import BuildError, LoadCancelledError, LoadFailedError, ModelError, NoRoomError, TierError
from models.fetching import Fetcher
from models.flights import FlightGuard, Flights, Ticket
from models.lookups import Lookups
from models.protocols import Model
from models.release import Content, Release, VersionKey
from models.tiers.device import DeviceTier
from models.tiers.lease import Lease
from models.tiers.memory import MemoryTier
from models.tiers.protocol import ByteTier, Tier, TierName
from models.turns import Turns

log = logging.getLogger(__name__)

# Most loads of a moment wait, for other processes or for bytes that others must give back; few work.
_LOADERS = 32
_WORKING = 2


@dataclass(frozen=True, slots=True)
class Tiers:
    """The four places; without Redis the walk goes on to the repository."""

    device: DeviceTier
    memory: MemoryTier
    redis: ByteTier | None
    repository: ByteTier

    @property
    def sources(self) -> list[ByteTier]:
        """Where bytes come from that are not in memory, nearest first."""
        return [self.repository] if self.redis is None else [self.redis, self.repository]

    @property
    def all(self) -> list[Tier]:
        """Nearest first."""
        return [self.device, self.memory, *self.sources]


class ModelCache:
    """Leases of models, for any thread.

    `shares_pages`: a built model is a view of the memory tier's pages, as it is on a CPU, and leases them as long as
    it stays. `prepare` is called before each load, and what it takes is no part of that.
    """

    def __init__(
        self,
        tiers: Tiers,
        appraisals: Appraisals,
        now: Callable[[], float],
        *,
        shares_pages: bool,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.tiers = tiers
        self.lookups = Lookups()
        self._fetcher = Fetcher(tiers.memory, tiers.sources)
        self._turns = Turns(_WORKING, now)
        self._appraisals = appraisals
        self._shares_pages = shares_pages
        self._prepare = prepare
        self._flights: Flights[VersionKey, Lease] = Flights(_LOADERS, now, Lease.release)
        self._background = ThreadPoolExecutor(1, thread_name_prefix="promotion")
        self._closing = _Closing()

    def resident(self, key: VersionKey) -> Lease | None:
        """The model if it is on the device: never waits, never loads. Scoring asks this."""
        self._appraisals.note(key)
        return self.tiers.device.lease(key)

    def request(self, release: Release, budget: float) -> Ticket[Lease]:
        """A part in loading a version, which has `budget` seconds; for `take`."""
        return self._flights.join(release.key, lambda guard: self._load(release, guard), budget)

    def get(self, release: Release, budget: float) -> Lease:
        """The model, loaded if need be. Raises what the load raised, LoadTimeoutError among it."""
        if (lease := self.resident(release.key)) is not None:
            return lease
        return self.take(self.request(release, budget))

    def take(self, ticket: Ticket[Lease]) -> Lease:
        """A lease of one's own of what a load brought; the ticket is used up. Raises what the load raised."""
        try:
            lease = ticket.wait().share()
        finally:
            ticket.leave()
        self.lookups.served(lease.source)
        return lease

    @property
    def served(self) -> dict[TierName, int]:
        """Look-ups that each tier served."""
        return self.lookups.counts | {TierName.DEVICE: self.tiers.device.served}

    @property
    def loading(self) -> list[VersionKey]:
        """Versions that are being loaded now."""
        return self._flights.keys

    @property
    def private_bytes(self) -> int:
        """Bytes of models in this process's own memory, beside that which all processes share."""
        return self._fetcher.private_bytes

    def evict(self, key: VersionKey) -> list[TierName]:
        """Let a version go from device and memory, where nothing leases it; Redis belongs to all instances."""
        self._appraisals.let_go(key)
        return [tier.name for tier in (self.tiers.device, self.tiers.memory) if tier.evict(key)]

    def maintain(self) -> None:
        """Renew in every tier what the device holds, let go what expired, and share what memory has room for now."""
        for entry in self.tiers.device.entries():
            self.tiers.memory.renew(entry.key)
            for tier in self.tiers.sources:
                tier.touch(entry.key)
        for place in self.tiers.all:
            for key in place.expire():
                log.info("%s: expired from %s", key, place.name)
                if place is self.tiers.device:
                    self._appraisals.idle(key)
        for release, content in self.tiers.device.own_copies():
            self._share(release, content)

    def misplaced(self) -> list[VersionKey]:
        """Versions in memory that others pushed off the device, most in demand first."""
        waiting = [
            entry.key
            for entry in self.tiers.memory.entries()
            if self._appraisals.wanted(entry.key) and not self.tiers.device.holds(entry.key)
        ]
        return sorted(waiting, key=lambda key: self._appraisals.appraise(key).demand, reverse=True)

    def cease(self) -> None:
        """Work that nobody waits for ends at its next chunk."""
        self._closing.now()

    def close(self) -> None:
        """Give loads up, then let everything go. Leases that are still held keep their models alive."""
        self.cease()
        self._flights.close()
        self._background.shutdown(wait=True)
        for tier in self.tiers.all:
            tier.close()

    def _share(self, release: Release, content: Content) -> None:
        """A copy of this process's own goes where memory takes the version now; from there it is loaded again."""
        try:
            self.tiers.memory.store(release, content, self._closing)
        except (NoRoomError, LoadCancelledError):
            # As before, and said when it was loaded: there is no room yet. Or the end has come.
            return
        except (ModelError, OSError) as error:
            log.warning("%s: stays in memory of its own: %s", release.key, error)
            return
        self.tiers.device.purge(release.key)
        log.info("%s: memory has room for it now, its own copy goes", release.key)

    def _load(self, release: Release, guard: FlightGuard) -> Lease:
        """Whatever ends a load reaches those who wait as a ModelError, here and nowhere else."""
        try:
            return self._brought(release, guard)
        except ModelError:
            raise
        except (OSError, MemoryError) as error:
            raise LoadFailedError(
                f"{release.key}: not loaded: {str(error) or 'out of memory'}; make room for what is short: memory "
                "(of a GPU: lower cache.gpu_memory_gb, or see who else is on it), disk space or open files "
                "(`ulimit -n`)"
            ) from error
        except Exception as error:
            log.exception("%s: not loaded", release.key)
            raise LoadFailedError(
                f"{release.key}: not loaded: {type(error).__name__}: {error}; the log has where: report it, and load "
                "another version meanwhile"
            ) from error

    def _brought(self, release: Release, guard: FlightGuard) -> Lease:
        if (lease := self.tiers.device.lease(release.key)) is not None:
            return lease
        self._prepare()
        with self._turns.one(guard) as turn, self.tiers.device.reserve(release, guard) as room:
            own: Callable[[], None] = partial(room.own, guard) if self._shares_pages else _nothing
            fetched = self._fetcher.fetch(release, guard, turn, own)
            try:
                turn.take()
                guard.check()
                fetching = turn.seconds
                model = self._built(release, fetched.content)
                seconds = turn.seconds
                kept = fetched.free if self._shares_pages else _nothing
                lease = room.fill(model, kept, fetched.source, seconds, fetched.content)
            except BaseException:
                fetched.free()
                raise
        if not self._shares_pages:
            fetched.free()
        self._note_load(release, fetched.source, seconds, seconds - fetching)
        if not lease.cached:
            log.info("%s: served without being cached: it would push out what is worth more", release.key)
        return lease

    def _built(self, release: Release, content: Content) -> Model:
        try:
            return self.tiers.device.build(release, content)
        except (ModelError, OSError, MemoryError):
            # It is not the version that is to blame.
            raise
        except Exception as error:
            raise BuildError(f"{release.key}: cannot be built: {type(error).__name__}: {error}") from error

    def _note_load(self, release: Release, source: TierName, seconds: float, building: float) -> None:
        self.lookups.loaded(source, release.bytes, seconds)
        self._appraisals.loaded(release.key, seconds)
        log.info(
            "%s: loaded in %.3f s: %.3f s for its bytes, from %s, %.3f s to build and try it",
            release.key,
            seconds,
            seconds - building,
            source,
            building,
        )
        if source is TierName.REPOSITORY and self.tiers.redis is not None:
            self._background.submit(self._promote, release, self.tiers.redis)

    def _promote(self, release: Release, redis: ByteTier) -> None:
        """To Redis, for the other instances; nobody waits for it."""
        try:
            if (holding := self.tiers.memory.lease(release)) is None:
                return
            try:
                redis.store(release, holding.content, self._closing)
            finally:
                holding.release()
        except (TierError, LoadCancelledError, OSError) as error:
            log.warning("%s: not kept in Redis: %s", release.key, error)


class _Closing:
    """The guard of work that nobody waits for: it ends when the cache closes."""

    def __init__(self) -> None:
        self._closing = threading.Event()

    def now(self) -> None:
        self._closing.set()

    def check(self) -> None:
        if self._closing.is_set():
            raise LoadCancelledError("the cache closes; this was given up")

    def remaining(self) -> float:
        return float("inf")


def _nothing() -> None:
    """A model with memory of its own leases nothing."""
