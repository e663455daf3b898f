"""The group coordinator: members, generations, sessions, committed offsets.

What both protocols share, and the classic one, in which all members join a generation together.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError

from stream.embedded.simulated.assignor import balanced, cooperative
from stream.embedded.simulated.faults import RefusedError
from stream.embedded.simulated.message import Place

LONGEST_METADATA = 4_096
Offsets = Mapping[Place, tuple[int, str | None]]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks: a member of some generation, or an outsider (empty name)."""

    group: str
    member: str = ""
    generation: int = -1
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class Application:
    """What a member joins with. Seconds: `session` without a heartbeat, `patience` for a rebalance."""

    topics: tuple[str, ...]
    owned: frozenset[Place]
    session: float
    patience: float


@dataclass(slots=True)
class _Member:
    application: Application
    instance: str | None
    seen: float
    joined: bool
    assigned: frozenset[Place]


class Group(ABC):
    """A group of either protocol. `partitions` tells how many a topic has."""

    def __init__(self, name: str, partitions: Callable[[str], int], before: Group | None = None) -> None:
        """`before`: the same group while it had the other protocol."""
        self.name = name
        self.offsets: dict[Place, tuple[int, str | None]] = {} if before is None else before.offsets
        self.unstable: dict[Place, set[int]] = {} if before is None else before.unstable
        self._partitions = partitions

    @property
    @abstractmethod
    def empty(self) -> bool:
        """Whether it has no members."""

    @abstractmethod
    def touch(self, name: str, now: float) -> None:
        """The member's process lives and can be heard."""

    @abstractmethod
    def leave(self, who: Credentials, now: float) -> None:
        """A member goes."""

    @abstractmethod
    def refresh(self, now: float) -> None:
        """The topics changed: assign anew."""

    @abstractmethod
    def expire(self, now: float) -> None:
        """Forget members whose time is over."""

    @abstractmethod
    def check_member(self, who: Credentials, places: Iterable[Place]) -> None:
        """Raises RefusedError for who may not commit there."""

    def check_commit(self, who: Credentials, offsets: Offsets, *, in_transaction: bool = False) -> None:
        """Raises RefusedError for a commit that may not be carried out. In a transaction nobody in particular may."""
        if who.member or who.instance or not (self.empty or in_transaction):
            self.check_member(who, offsets)
        if any(len(metadata or "") >= LONGEST_METADATA for _, metadata in offsets.values()):
            raise RefusedError(KafkaError.OFFSET_METADATA_TOO_LARGE)

    def forget(self, topic: str) -> None:
        """A topic is gone."""
        for place in [place for place in self.offsets if place[0] == topic]:
            del self.offsets[place]
        for place in [place for place in self.unstable if place[0] == topic]:
            del self.unstable[place]

    def commit(self, who: Credentials, offsets: Offsets) -> None:
        """Raises RefusedError."""
        self.check_commit(who, offsets)
        self.offsets.update(offsets)

    def places(self, topics: Iterable[str]) -> list[Place]:
        """All partitions of these topics."""
        return [(topic, number) for topic in sorted(set(topics)) for number in range(self._partitions(topic))]


class ClassicGroup(Group):
    """While it forms a generation, members of the one before may commit."""

    def __init__(self, name: str, partitions: Callable[[str], int], before: Group | None = None) -> None:
        super().__init__(name, partitions, before)
        self.generation = 0
        self._members: dict[str, _Member] = {}
        self._fenced: set[str] = set()
        self._forming: float | None = None
        self._numbers = itertools.count(1)

    def join(self, who: Credentials, application: Application, now: float) -> str:
        """The member's name. Raises RefusedError."""
        if who.member:
            self._known(who)
            name = who.member
            assigned = self._members[name].assigned
        else:
            name, assigned = f"{who.instance or 'member'}-{next(self._numbers)}", frozenset[Place]()
            if self._takes_over(name, who.instance, application, now):
                return name
        self._begin(now)
        self._members[name] = _Member(application, who.instance, now, joined=True, assigned=assigned)
        self._settle()
        return name

    def answer(self, who: Credentials) -> tuple[int, frozenset[Place]] | None:
        """The generation that formed and what the member got; None while it forms. Raises RefusedError."""
        self._known(who)
        return None if self._forming is not None else (self.generation, self._members[who.member].assigned)

    def heartbeat(self, who: Credentials) -> bool:
        """Whether the member has to join again. Raises RefusedError."""
        self._known(who)
        return self._forming is not None and not self._members[who.member].joined

    def touch(self, name: str, now: float) -> None:
        if (member := self._members.get(name)) is not None:
            member.seen = now

    def leave(self, who: Credentials, now: float) -> None:
        """A member goes; a static one keeps its place until its session ends."""
        if who.instance is None and self._members.pop(who.member, None) is not None:
            self._begin(now)
            self._settle()

    def refresh(self, now: float) -> None:
        self._begin(now)

    def expire(self, now: float) -> None:
        """Forget members whose session is over, and those that keep a rebalance waiting too long."""
        gone = [n for n, each in self._members.items() if now - each.seen > each.application.session]
        if self._forming is not None:
            gone += [
                name
                for name, each in self._members.items()
                if not each.joined and now - self._forming > each.application.patience
            ]
        for name in dict.fromkeys(gone):
            del self._members[name]
        if gone:
            self._begin(now)
        self._settle()

    def check_member(self, who: Credentials, places: Iterable[Place]) -> None:
        self._known(who)
        if who.generation != self.generation:
            raise RefusedError(KafkaError.ILLEGAL_GENERATION)

    @property
    def empty(self) -> bool:
        return not self._members

    def _known(self, who: Credentials) -> None:
        if who.member in self._fenced:
            raise RefusedError(KafkaError.FENCED_INSTANCE_ID)
        if who.member not in self._members:
            raise RefusedError(KafkaError.UNKNOWN_MEMBER_ID)

    def _takes_over(self, name: str, instance: str | None, application: Application, now: float) -> bool:
        """A static member that comes back gets what it had, without a rebalance."""
        before = [n for n, m in self._members.items() if instance is not None and m.instance == instance]
        for old in before:
            member = self._members.pop(old)
            self._fenced.add(old)
            self._members[name] = _Member(application, instance, now, joined=True, assigned=member.assigned)
        return bool(before) and self._forming is None

    def _begin(self, now: float) -> None:
        """A generation forms, unless one does already: every member has to join it."""
        if self._forming is None:
            self._forming = now
            for member in self._members.values():
                member.joined = False

    def _settle(self) -> None:
        if self._forming is None or not all(member.joined for member in self._members.values()):
            return
        self._forming = None
        if not self._members:
            return
        self.generation += 1
        owned = {name: member.application.owned for name, member in self._members.items()}
        topics = (topic for member in self._members.values() for topic in member.application.topics)
        target = balanced(self.places(topics), owned)
        for name, places in cooperative(target, owned).items():
            self._members[name].assigned = places
