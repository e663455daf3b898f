"""Redis: verified versions in chunks, shared by all instances; a bound of our own, nothing in it trusted.

Room is decided by an optimistic transaction: the index is watched and read, the policy that all tiers share decides
in Python, and the change is made only if the index is still as it was; else it is decided anew. A Lua script would
spare that, at the price of the policy in a second language. The transaction spans keys, so this works on a primary,
with or without replicas, and not on a cluster.

Redis has no leases: what is evicted under a reader is AbsentError for that reader. Versions leave by themselves when
their time is over, pinned ones, too; a pin only keeps them from being evicted.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import TypeVar

from models.breaker import Backoff, Breaker
from models.errors import (
    AbsentError,
    ArtifactError,
    NoRoomError,
    TierError,
    UnavailableError,
    UnreachableError,
)
from models.release import Content, Release, VersionKey
from models.tiers.budget import Budget, Occupant
from models.tiers.memory import Lifetime
from models.tiers.protocol import Entry, Guard, TierName
from models.tiers.redis_index import (
    Index,
    Record,
    Snapshot,
    chunk_keys,
    entering,
    removal,
    renewal,
    sweeping,
    use,
)
from models.tiers.redis_transfer import Transfer, pieces
from models.tiers.redis_wire import Command, Patience, Wire
from models.tiers.sink import Sink

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_CONNECTIONS = 2
# What a writer may take beyond the time of its transfer before its reservation lapses.
_RESERVATION_SECONDS = 10.0


class RedisTier:
    """Versions in the Redis at `url`. Raises UnavailableError for a `url` that is none.

    A Redis that does not answer costs one bounded wait; then it is left alone as `backoff` says.
    """

    name = TierName.REDIS

    def __init__(
        self,
        url: str,
        budget: Budget,
        lifetime: Lifetime,
        now: Callable[[], float],
        *,
        patience: Patience | None = None,
        backoff: Backoff | None = None,
        connections: int = _CONNECTIONS,
    ) -> None:
        self._patience = patience or Patience()
        try:
            self._wire = Wire(url, self._patience)
        except ValueError as error:
            raise UnavailableError(f"cache.redis_url: {error}") from error
        self._budget = budget
        self._lifetime = lifetime
        self._index = Index(self._wire, lifetime)
        self._transfer = Transfer(self._wire, connections, now)
        self._breaker = Breaker(f"Redis at {self._wire.place}", backoff or Backoff(), now)
        self._last = Snapshot(0.0, lifetime, {}, {}, {})

    @property
    def budget(self) -> int | None:
        return self._budget.limit

    def used(self) -> int:
        return self._look().bytes

    def entries(self) -> list[Entry]:
        """What it holds; what it held when it last answered, while it does not."""
        snapshot = self._look()
        return [self._entry(key, record, snapshot) for key, record in snapshot.complete.items()]

    def holds(self, key: VersionKey) -> bool:
        def look() -> bool:
            self._last = self._index.look()
            return self._last.ready(key) is not None

        return self._asked(look, False)

    def read(self, release: Release, sink: Sink, guard: Guard) -> None:
        """Give the chunks of all files to `sink`, and wait until it has checked them.

        Raises AbsentError or ArtifactError after what was bad is removed, UnreachableError; whatever `guard` and
        `sink` raise passes through.
        """
        with self._breaker.attempt():
            record = self._ready(release.key)
            try:
                self._renew(release.key, record, hits=1)
                self._transfer.fetch(pieces(release), sink, guard)
                sink.finish()
            except (AbsentError, ArtifactError) as error:
                self._discard(release.key, record)
                raise type(error)(
                    f"{release.key}: the copy in Redis is not what it must be: {error}; what was left of it is "
                    "removed there, load it from the repository"
                ) from error

    def store(self, release: Release, content: Content, guard: Guard) -> None:
        """Keep a version; nothing happens when it is there already, or when another instance writes it now.

        Raises NoRoomError with the reason, UnreachableError, and what `guard` raises; then nothing of it stays, or,
        where Redis cannot be told any more, lapses within the time of a transfer.
        """
        with self._breaker.attempt():
            reservation = self._reserve(release)
            if reservation is None:
                return
            try:
                lapse = round((reservation.until - reservation.stored) * 1_000)
                self._transfer.send(pieces(release), content, lapse, guard)
                self._commit(release.key, reservation)
            except BaseException:
                self._abandon(release.key, reservation)
                raise

    def evict(self, key: VersionKey) -> bool:
        if self._budget.appraise(key).pinned:
            return False
        return self._asked(lambda: self._remove(key), False)

    def purge(self, key: VersionKey) -> None:
        """Let a bad copy go; one that is being written is left to its writer."""
        self._asked(lambda: self._remove(key), False)

    def touch(self, key: VersionKey) -> None:
        def renew() -> None:
            record = self._ready(key)
            try:
                self._renew(key, record, hits=0)
            except AbsentError:
                self._discard(key, record)
                raise

        self._asked(renew, None)

    def expire(self) -> list[VersionKey]:
        """Let go what Redis' clock says is over, what lost chunks, and what writers left that are gone."""
        return self._asked(self._expire, [])

    def close(self) -> None:
        """End the connections; what Redis holds belongs to all instances."""
        self._wire.close()

    def _look(self) -> Snapshot:
        def look() -> Snapshot:
            self._last = self._index.look()
            return self._last

        return self._asked(look, self._last)

    def _asked(self, work: Callable[[], Answer], otherwise: Answer) -> Answer:
        """What `work` says, or `otherwise` when Redis cannot be asked: the breaker says so once, for all."""
        try:
            with self._breaker.attempt():
                return work()
        except (AbsentError, UnreachableError) as error:
            log.debug("nothing done in Redis: %s", error)
        except TierError as error:
            log.info("%s", error)
        return otherwise

    def _expire(self) -> list[VersionKey]:
        snapshot = self._last = self._index.look()
        if snapshot.over or snapshot.broken:
            self._index.free(sweeping)
        parts = [key for key, record in snapshot.complete.items() if not self._whole(key, record)]
        return [*snapshot.over, *(key for key in parts if self._remove(key))]

    def _ready(self, key: VersionKey) -> Record:
        self._last = self._index.look()
        if (record := self._last.ready(key)) is None:
            raise AbsentError(f"{key} is not in Redis; load it from the repository")
        return record

    def _renew(self, key: VersionKey, record: Record, *, hits: int) -> None:
        """A use that is now. Raises AbsentError when chunks are missing; a Redis that is full goes on being read."""

        def plan(snapshot: Snapshot) -> list[Command]:
            if snapshot.ready(key) is None:
                raise AbsentError("it was removed a moment ago")
            return [*renewal(key, record, snapshot), *use(key, snapshot, hits)]

        try:
            renewed = self._index.change(plan)[: record.chunks]
        except NoRoomError as error:
            log.info("%s: this use is not noted: %s", key, error)
            return
        if not all(renewed):
            raise AbsentError(f"{renewed.count(0)} of its {record.chunks} chunks are gone")

    def _reserve(self, release: Release) -> Record | None:
        """Room for a version. None when it is there, or about to be."""
        key, size = release.key, max(release.bytes, release.manifest.bytes.redis)
        seconds = self._patience.transfer(release.bytes) + _RESERVATION_SECONDS
        worth, writer, chunks = self._budget.appraise(key), uuid.uuid4().hex, len(pieces(release))
        made: list[Record] = []

        def plan(snapshot: Snapshot) -> list[Command]:
            made.clear()
            if key in snapshot.records and not snapshot.stale(key):
                return []
            made.append(
                Record(
                    bytes=size,
                    chunks=chunks,
                    state="writing",
                    stored=snapshot.now,
                    until=snapshot.now + seconds,
                    writer=writer,
                    priority=worth.priority,
                    load_seconds=worth.cost,
                )
            )
            room = self._room(snapshot, key, size, snapshot.bytes)
            return [*sweeping(snapshot), *room, *entering(key, made[0], self._lifetime)]

        self._index.change(plan)
        return made[0] if made else None

    def _room(self, snapshot: Snapshot, key: VersionKey, size: int, used: int) -> list[Command]:
        """What goes for so many bytes. Raises NoRoomError."""
        complete = snapshot.complete
        occupants = [self._occupant(other, record, key, snapshot) for other, record in complete.items()]
        gone = self._budget.admit(occupants, used, key, size)
        return [command for other in gone for command in removal(other, complete[other])]

    def _occupant(
        self, key: VersionKey, record: Record, incoming: VersionKey, snapshot: Snapshot
    ) -> Occupant:
        # Another instance may hold a version dearer than this one knows: it is not for this one to push it out.
        known = max(self._budget.appraise(key).priority, self._budget.appraise(incoming).priority)
        age, idle = snapshot.now - record.stored, snapshot.now - snapshot.last_use(key)
        return Occupant(key, record.bytes, record.priority > known, age, idle, record.load_seconds)

    def _commit(self, key: VersionKey, reservation: Record) -> None:
        """All is written: measured, and from now on there for every instance. Raises NoRoomError."""
        measured = self._measured(key, reservation)

        def plan(snapshot: Snapshot) -> list[Command]:
            mine = snapshot.records.get(key)
            if mine is None or mine.writer != reservation.writer:
                raise NoRoomError(
                    f"{key}: its reservation in Redis was lost while it was written: the writer was too slow, Redis "
                    "was flushed, or maxmemory evicted it; raise maxmemory above cache.l2_redis_gb"
                )
            room: list[Command] = []
            if measured > mine.bytes:
                room = self._room(snapshot, key, measured, snapshot.bytes - mine.bytes)
            record = mine.model_copy(
                update={
                    "bytes": measured,
                    "state": "ready",
                    "stored": snapshot.now,
                    "until": snapshot.now + self._lifetime.ttl,
                }
            )
            return [*renewal(key, record, snapshot), *room, *entering(key, record, self._lifetime)]

        if not all(self._index.change(plan)[: reservation.chunks]):
            raise _evicted(key)

    def _measured(self, key: VersionKey, record: Record) -> int:
        """Bytes that Redis counts for the chunks. Raises NoRoomError when one is gone."""
        if not record.chunks:
            return 0
        sizes = self._wire.exchange([("MEMORY", "USAGE", name) for name in chunk_keys(key, record)])
        if None in sizes:
            raise _evicted(key)
        return sum(sizes)

    def _abandon(self, key: VersionKey, reservation: Record) -> None:
        """Nothing of it stays, unless another instance writes the version by now: its chunks are the same."""

        def plan(snapshot: Snapshot) -> list[Command]:
            found = snapshot.records.get(key)
            return removal(key, reservation) if found is None or found.writer == reservation.writer else []

        try:
            self._index.free(plan)
        except TierError as error:
            seconds = reservation.until - reservation.stored
            log.warning("%s: what was written of it lapses in Redis within %.0f s: %s", key, seconds, error)

    def _discard(self, key: VersionKey, record: Record) -> None:
        """What was found bad or incomplete goes; what another instance wrote since then stays."""
        try:
            self._remove(key, record.writer)
        except TierError as error:
            log.warning("%s: the bad copy in Redis could not be removed: %s", key, error)

    def _remove(self, key: VersionKey, writer: str | None = None) -> bool:
        """Let a complete version go; with `writer`, only that one's. Whether there was one."""

        def plan(snapshot: Snapshot) -> list[Command]:
            record = snapshot.records.get(key)
            if record is None or record.state != "ready" or writer not in (None, record.writer):
                return []
            return removal(key, record)

        return bool(self._index.free(plan))

    def _whole(self, key: VersionKey, record: Record) -> bool:
        if not record.chunks:
            return True
        (found,) = self._wire.exchange([("EXISTS", *chunk_keys(key, record))])
        return bool(found == record.chunks)

    def _entry(self, key: VersionKey, record: Record, snapshot: Snapshot) -> Entry:
        age, idle = snapshot.now - record.stored, snapshot.now - snapshot.last_use(key)
        hits, pinned = snapshot.hits.get(key, 0), self._budget.appraise(key).pinned
        return Entry(key, record.bytes, age, idle, hits, 0, record.load_seconds, pinned)


def _evicted(key: VersionKey) -> NoRoomError:
    return NoRoomError(
        f"{key}: Redis evicted chunks of it while it was written: its maxmemory is below what it is asked to hold; "
        "raise maxmemory above cache.l2_redis_gb by what else is kept there"
    )
