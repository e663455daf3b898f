"""Assigned partitions: positions, pauses, and what was prefetched."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from stream.embedded.simulated.faults import RefusedError, Step, UnansweredError
from stream.embedded.simulated.message import Place, Record

if TYPE_CHECKING:
    from stream.embedded.simulated.cluster import SimulatedProcess

_AT_ONCE = 500


@dataclass(slots=True)
class _Assigned:
    """`position` is the application's, `fetched` runs ahead of it; a new version makes what was prefetched void."""

    version: int
    start: int | None = None
    position: int | None = None
    fetched: int = 0
    high: int | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """A record, or None for offsets to pass over, up to `following`."""

    place: Place
    version: int
    record: Record | None
    following: int


class Fetcher:
    """Reads ahead of the application. `prefetch`: records held at most."""

    def __init__(self, process: SimulatedProcess, *, committed: bool, prefetch: int) -> None:
        self._process = process
        self._committed = committed
        self._prefetch = prefetch
        self._partitions: dict[Place, _Assigned] = {}
        self._queue: deque[Fetched] = deque()
        self._version = 0

    @property
    def places(self) -> list[Place]:
        return sorted(self._partitions)

    def unplaced(self) -> list[Place]:
        """Partitions of which it is not known yet where to begin."""
        return [place for place, each in self._partitions.items() if each.start is None]

    def add(self, places: Iterable[Place]) -> None:
        for place in sorted(places):
            self._partitions[place] = _Assigned(self._next_version())

    def remove(self, places: Iterable[Place]) -> None:
        for place in places:
            self._partitions.pop(place, None)

    def begin(self, place: Place, offset: int) -> None:
        each = self._partitions[place]
        each.start = each.fetched = offset

    def pause(self, places: Iterable[Place], *, paused: bool) -> None:
        """A pause discards what was prefetched."""
        for place in places:
            if (each := self._partitions.get(place)) is not None:
                each.paused = paused
                if paused and each.start is not None:
                    each.version = self._next_version()
                    each.fetched = each.start if each.position is None else each.position

    def position(self, place: Place) -> int | None:
        """One past the last record that the application was given."""
        each = self._partitions.get(place)
        return each.position if each is not None else None

    def high(self, place: Place) -> int | None:
        """The end of the partition, as the latest fetch told it."""
        each = self._partitions.get(place)
        return each.high if each is not None else None

    def fetch(self) -> None:
        """Read ahead in every partition that is not paused."""
        for place, each in sorted(self._partitions.items()):
            if each.start is None or each.paused or len(self._queue) >= self._prefetch:
                continue
            try:
                # A broker does not answer a fetch before there is something.
                if each.high is not None and self._process.cluster.log(*place).end == each.fetched:
                    continue
                self._process.ask(Step.FETCH, partial(self._read, place, each))
            except (RefusedError, UnansweredError):
                continue

    def next(self) -> tuple[Place, int, Record] | None:
        """The next record for the application, with its partition and the version of its assignment."""
        while self._queue:
            fetched = self._queue.popleft()
            each = self._partitions.get(fetched.place)
            if each is None or each.version != fetched.version:
                continue
            each.position = fetched.following
            if fetched.record is not None:
                return fetched.place, fetched.version, fetched.record
        return None

    def is_current(self, place: Place, version: int) -> bool:
        """Whether a record may still be handed out."""
        each = self._partitions.get(place)
        return each is not None and each.version == version

    def _read(self, place: Place, each: _Assigned) -> None:
        log = self._process.cluster.log(*place)
        each.high = log.end
        for following, record in log.read(each.fetched, _AT_ONCE, committed=self._committed):
            self._queue.append(Fetched(place, each.version, record, following))
            each.fetched = following

    def _next_version(self) -> int:
        self._version += 1
        return self._version
