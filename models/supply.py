"""The cache by version, as a loader uses it that must never wait."""

from __future__ import annotations

from collections.abc import Sequence

from models.assembly import Assembled, CacheOptions
from models.cache import ModelCache
from models.flights import Ticket
from models.null import NAME as NULL
from models.null import NullModel
from models.release import Release, VersionKey
from models.tiers.lease import Lease

NULL_KEY = VersionKey(NULL, NullModel.identity.version, "built-in")


class BegunLoad:
    """A load in progress."""

    def __init__(self, cache: ModelCache, ticket: Ticket[Lease]) -> None:
        self._cache = cache
        self._ticket = ticket

    @property
    def done(self) -> bool:
        return self._ticket.future.done()

    def take(self) -> Lease:
        """The lease, once it is done, or after waiting. Raises the ModelError that ended the load."""
        return self._cache.take(self._ticket)


class NoLoad:
    """The load of a model that is built in: it is there already."""

    done = True

    def __init__(self, built_in: Lease) -> None:
        self._built_in = built_in

    def take(self) -> Lease:
        """A lease of its own."""
        return self._built_in.share()


class ModelSupply:
    """Which versions a name means, and their leases, loads and prospects."""

    def __init__(self, parts: Assembled, options: CacheOptions) -> None:
        self._parts = parts
        self._timeout = options.load_timeout_s
        self._priorities = options.priorities
        # What a claim was promised stays known, even when it is removed from the repository meanwhile.
        self._releases: dict[VersionKey, Release] = {}
        self._null = parts.cache.tiers.device.adopt(NULL_KEY, NullModel())

    def shares(self, reference: str) -> tuple[tuple[VersionKey, int], ...]:
        """The versions that a name means now, and their weights; the last ones while the repository cannot be read.

        Raises UnknownModelError, ManifestError, or UnreachableError for a version that was never read.
        """
        if reference == NULL:
            return ((NULL_KEY, 1),)
        target = self._parts.resolver.target(reference)
        releases = [self._parts.resolver.exactly(target.name, share.version) for share in target.shares]
        self._releases.update({release.key: release for release in releases})
        if (priority := self._priorities.get(reference)) is not None:
            self._parts.appraisals.prioritize([release.key for release in releases], reference, priority)
        return tuple(
            (release.key, share.weight) for release, share in zip(releases, target.shares, strict=True)
        )

    def resident(self, key: VersionKey) -> Lease | None:
        """A lease if it is on the device."""
        return self._parts.cache.resident(key)

    def holds(self, key: VersionKey) -> bool:
        """Whether it is on the device."""
        return self._parts.cache.tiers.device.holds(key)

    def begin(self, key: VersionKey) -> BegunLoad | NoLoad:
        """Begin to load it, or join whoever does; `key` is one that `shares` gave.

        Raises LoadFailedError where no thread can be started, LoadCancelledError after the cache was closed.
        """
        if key == NULL_KEY:
            return NoLoad(self._null)
        return BegunLoad(self._parts.cache, self._parts.cache.request(self._releases[key], self._timeout))

    def room(self, key: VersionKey) -> bool:
        """Whether it fits on the device without anything going."""
        return self._parts.cache.tiers.device.fits(self._releases[key])

    def load_seconds(self, key: VersionKey) -> float:
        """Seconds that a load took the last time, or is expected to take by its size."""
        return self._parts.appraisals.cost(key, self._releases[key].bytes)

    def expect(self, keys: Sequence[VersionKey]) -> None:
        """The versions that will be asked for next, in this order."""
        self._parts.appraisals.expect(keys)

    def close(self) -> None:
        self._null.release()
