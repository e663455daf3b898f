"""The group coordinator of KIP-848: it decides by itself who gets what, and each member follows at its own pace."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from confluent_kafka import KafkaError

from stream.embedded.simulated.assignor import balanced
from stream.embedded.simulated.faults import RefusedError
from stream.embedded.simulated.groups import Application, Credentials, Group
from stream.embedded.simulated.message import Place


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What the broker prescribes, in seconds."""

    heartbeat: float = 5.0
    session: float = 45.0


AS_A_BROKER_HAS_IT = Rhythm()


@dataclass(slots=True)
class _Member:
    """`assigned`: nobody else gets these. `before`: its epoch before the latest, whose answer may have been lost.

    `since`: the epoch in which it got each of them. `asked`: since when it is to give something up.
    """

    application: Application
    seen: float
    epoch: int = 0
    before: int = 0
    assigned: frozenset[Place] = frozenset()
    since: dict[Place, int] = field(default_factory=dict)
    asked: float | None = None


class LedGroup(Group):
    """Members have epochs of their own: one that has nothing to give up never notices that others have."""

    def __init__(self, name: str, partitions: Callable[[str], int], before: Group | None = None) -> None:
        super().__init__(name, partitions, before)
        self.epoch = 0
        self._members: dict[str, _Member] = {}
        self._targets: dict[str, frozenset[Place]] = {}
        self._numbers = itertools.count(1)

    @property
    def empty(self) -> bool:
        return not self._members

    def join(self, application: Application, now: float) -> str:
        """A new member's name."""
        name = f"led-{next(self._numbers)}"
        self._members[name] = _Member(application, now)
        self._aim()
        return name

    def heartbeat(
        self, who: Credentials, owned: frozenset[Place], now: float
    ) -> tuple[int, frozenset[Place]]:
        """The member's epoch, and what it is to own now: less first, what others gave up after it has let go.

        `owned`: what it has, told only when it is not about to change. Raises RefusedError.
        """
        member = self._known(who)
        if who.generation not in (member.epoch, member.before):
            raise RefusedError(KafkaError.FENCED_MEMBER_EPOCH)
        member.seen = now
        kept = member.assigned & self._targets[who.member]
        if owned - kept:
            member.asked = now if member.asked is None else member.asked
            return member.epoch, kept
        taken = frozenset[Place]().union(*(m.assigned for m in self._members.values() if m is not member))
        member.assigned, member.asked = kept | (self._targets[who.member] - taken), None
        if member.epoch != self.epoch:
            member.before, member.epoch = member.epoch, self.epoch
        member.since = {place: member.since.get(place, member.epoch) for place in member.assigned}
        return member.epoch, member.assigned

    def touch(self, name: str, now: float) -> None:
        if (member := self._members.get(name)) is not None:
            member.seen = now

    def leave(self, who: Credentials, now: float) -> None:
        if self._members.pop(who.member, None) is not None:
            self._aim()

    def refresh(self, now: float) -> None:
        self._aim()

    def expire(self, now: float) -> None:
        """Forget members whose session is over, and those that take too long to give something up."""
        gone = [name for name, member in self._members.items() if self._is_over(member, now)]
        for name in gone:
            del self._members[name]
        if gone:
            self._aim()

    def check_member(self, who: Credentials, places: Iterable[Place]) -> None:
        """An earlier epoch may commit where the member has had the partition ever since."""
        member = self._known(who)
        had = all(who.generation >= member.since.get(place, self.epoch + 1) for place in places)
        if who.generation != member.epoch and not had:
            raise RefusedError(KafkaError.STALE_MEMBER_EPOCH)

    def _is_over(self, member: _Member, now: float) -> bool:
        late = member.asked is not None and now - member.asked > member.application.patience
        return late or now - member.seen > member.application.session

    def _known(self, who: Credentials) -> _Member:
        if who.member not in self._members:
            raise RefusedError(KafkaError.UNKNOWN_MEMBER_ID)
        return self._members[who.member]

    def _aim(self) -> None:
        self.epoch += 1
        if self._members:
            topics = (topic for member in self._members.values() for topic in member.application.topics)
            owned = {name: member.assigned for name, member in self._members.items()}
            self._targets = balanced(self.places(topics), owned)
