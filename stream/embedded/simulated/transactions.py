"""The transaction coordinator: epochs that fence, time-outs, and what a transaction carries until it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import KafkaError

from stream.embedded.simulated.faults import RefusedError
from stream.embedded.simulated.groups import Credentials, Group, Offsets
from stream.embedded.simulated.log import PartitionLog
from stream.embedded.simulated.message import Place


@dataclass(frozen=True, slots=True)
class Identity:
    """A producer under its transactional id. A later epoch fences all before it."""

    name: str
    producer: int
    epoch: int


@dataclass(slots=True)
class _Transactional:
    """`ended`: how the latest transaction of this epoch ended; `renewed`: the epoch that its producer gave up itself.

    Both are there so that a request whose answer was lost may be made again.
    """

    producer: int
    timeout: float
    epoch: int = 0
    since: float | None = None
    places: set[Place] = field(default_factory=set)
    offsets: list[tuple[Group, Offsets]] = field(default_factory=list)
    ended: bool | None = None
    renewed: int | None = None


class Transactions:
    """All transactional ids of a cluster. `log` finds a partition; `stamp` gives milliseconds since the epoch."""

    def __init__(self, log: Callable[[Place], PartitionLog], stamp: Callable[[], int]) -> None:
        self._log = log
        self._stamp = stamp
        self._known: dict[str, _Transactional] = {}

    def init(self, name: str, producer: int, timeout: float) -> Identity:
        """A new epoch; an open transaction of the one before is aborted."""
        state = self._known.setdefault(name, _Transactional(producer, timeout, epoch=-1))
        state.epoch += 1
        state.timeout, state.renewed = timeout, None
        if state.since is not None:
            self._end(state, commit=False)
        state.ended = None
        return Identity(name, state.producer, state.epoch)

    def renew(self, who: Identity) -> Identity:
        """A new epoch for the producer itself, between transactions. Raises RefusedError."""
        state = self._known[who.name]
        if state.renewed != who.epoch:
            state = self._checked(who)
            state.renewed, state.ended = state.epoch, None
            state.epoch += 1
        return Identity(who.name, state.producer, state.epoch)

    def begun(self, who: Identity) -> None:
        """Its producer knows how the one before ended: what comes now, an empty one as well, is not about that."""
        state = self._known[who.name]
        if who.epoch == state.epoch:
            state.ended = None

    def add(self, who: Identity, place: Place, now: float) -> None:
        """Begin with the first partition. Raises RefusedError, for a partition that does not exist as well."""
        self._log(place)
        state = self._ongoing(who, now)
        state.places.add(place)

    def add_offsets(
        self, who: Identity, group: Group, member: Credentials, offsets: Offsets, now: float
    ) -> None:
        """Offsets that count once the transaction commits. Raises RefusedError."""
        state = self._ongoing(who, now)
        for place in offsets:
            self._log(place)
        try:
            group.check_commit(member, offsets, in_transaction=True)
        except RefusedError as refusal:
            # Producers are told so, whatever the protocol of the group.
            stale = refusal.code == KafkaError.STALE_MEMBER_EPOCH
            raise RefusedError(KafkaError.ILLEGAL_GENERATION) if stale else refusal from refusal
        state.offsets.append((group, offsets))
        for place in offsets:
            group.unstable.setdefault(place, set()).add(state.producer)

    def knows(self, who: Identity) -> bool:
        """Whether there is a transaction to end, or one that ended without the producer's knowing."""
        state = self._known[who.name]
        return state.since is not None or state.ended is not None or state.epoch != who.epoch

    def end(self, who: Identity, *, commit: bool) -> None:
        """Write the outcome into every partition. Raises RefusedError."""
        state = self._checked(who)
        if state.since is None:
            if state.ended is not commit:
                raise RefusedError(KafkaError.INVALID_TXN_STATE)
            return
        self._end(state, commit=commit)
        state.ended = commit

    def forget(self, topic: str) -> None:
        """A topic is gone: nothing is written into it, and no offsets of it are committed."""
        for state in self._known.values():
            state.places = {place for place in state.places if place[0] != topic}
            state.offsets = [
                (group, {place: offset for place, offset in offsets.items() if place[0] != topic})
                for group, offsets in state.offsets
            ]

    def expire(self, now: float) -> None:
        """Abort what has been open for too long, and fence its producer."""
        for state in self._known.values():
            if state.since is not None and now - state.since > state.timeout:
                state.epoch, state.renewed = state.epoch + 1, None
                self._end(state, commit=False)

    def _ongoing(self, who: Identity, now: float) -> _Transactional:
        state = self._checked(who)
        if state.since is None:
            state.since, state.ended = now, None
        return state

    def _checked(self, who: Identity) -> _Transactional:
        state = self._known[who.name]
        if who.epoch != state.epoch:
            raise RefusedError(KafkaError.INVALID_PRODUCER_EPOCH)
        return state

    def _end(self, state: _Transactional, *, commit: bool) -> None:
        for place in sorted(state.places):
            self._log(place).mark(state.producer, state.epoch, self._stamp(), commit=commit)
        for group, offsets in state.offsets:
            for place in offsets:
                group.unstable.get(place, set()).discard(state.producer)
            if commit:
                group.offsets.update(offsets)
        state.places, state.offsets, state.since = set(), [], None
