"""A consumer's side of its group: joining, heartbeats, and what the application has to be told of."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

from stream.embedded.simulated.faults import RefusedError, Step, UnansweredError
from stream.embedded.simulated.groups import Application, Credentials
from stream.embedded.simulated.message import Place

if TYPE_CHECKING:
    from stream.embedded.simulated.cluster import SimulatedProcess


@dataclass(frozen=True, slots=True)
class Manners:
    """Times in seconds, as the client's options give them."""

    heartbeat: float
    session: float
    max_poll: float
    instance: str | None


class News(Enum):
    """What happened to an assignment."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"
    LOST = "lost"


class Membership:
    """Belongs to a client; the application is told its news one by one, and before it was nothing is joined again."""

    def __init__(self, process: SimulatedProcess, group: str, manners: Manners) -> None:
        self._process = process
        self._group = group
        self._manners = manners
        self._topics: tuple[str, ...] = ()
        self._member = ""
        self._generation = -1
        self._waiting = False
        self._must_join = False
        self._next_heartbeat = 0.0
        self._polled: float | None = None
        self.owned: frozenset[Place] = frozenset()
        self._news: deque[tuple[News, frozenset[Place]]] = deque()
        self._telling = False
        self.errors: deque[KafkaError] = deque()
        self.fatal: KafkaError | None = None

    @property
    def credentials(self) -> Credentials:
        """Who the broker takes this client for."""
        return Credentials(self._group, self._member, self._generation, self._manners.instance)

    @property
    def member(self) -> str:
        return self._member

    @property
    def session(self) -> float:
        """Seconds without a heartbeat after which the group casts a member out."""
        return self._manners.session

    def subscribe(self, topics: tuple[str, ...]) -> None:
        self._topics = topics
        self._polled = self._now()

    def polling(self) -> None:
        """The application is in a call: however long it takes, it counts as polling."""
        self._polled = None

    def polled(self) -> None:
        self._polled = self._now()

    def beat(self, now: float) -> None:
        """The client's thread lives: its heartbeats arrive, whether or not an answer was read yet."""
        if self._member:
            self._process.cluster.group(self._group).touch(self._member, now)

    def background(self) -> None:
        """Talk to the coordinator about what is due."""
        if not self._topics or self.fatal is not None:
            return
        now = self._now()
        if self._polled is not None and now - self._polled > self._manners.max_poll:
            self._leave_unpolled()
        try:
            self._talk(now)
        except UnansweredError:
            self._next_heartbeat = now + self._manners.heartbeat
        except RefusedError as refusal:
            self._cast_out(refusal.code)

    def next_news(self) -> tuple[News, frozenset[Place]] | None:
        """The next thing to tell the application, and the partitions that it is about."""
        while self._news:
            news, places = self._news.popleft()
            if news is not News.LOST:
                return news, places
            if self.owned:
                return news, self.owned
        return None

    def telling(self) -> None:
        """The application is in its callback, however long it takes."""
        self._telling = True

    def told(self, news: News, places: frozenset[Place]) -> None:
        """The application was told: now it is so."""
        self._telling = False
        self.owned = self.owned | places if news is News.ASSIGNED else self.owned - places

    def leave(self) -> None:
        """Say goodbye and stay away; nobody waits for an answer."""
        self._topics = ()
        self._say_goodbye()
        self._member = ""

    def _say_goodbye(self) -> None:
        if self._member:
            who, group = self.credentials, self._process.cluster.group(self._group)
            with suppress(RefusedError, UnansweredError):
                self._process.ask(Step.LEAVE, lambda: group.leave(who, self._now()))

    def _talk(self, now: float) -> None:
        if not self._untold and (self._must_join or not self._member):
            self._join(now)
        elif self._waiting:
            self._await_generation(now)
        elif now >= self._next_heartbeat:
            self._next_heartbeat = now + self._manners.heartbeat
            group, who = self._process.cluster.classic(self._group), self.credentials
            self._must_join |= self._process.ask(Step.HEARTBEAT, lambda: group.heartbeat(who))

    @property
    def _untold(self) -> bool:
        return self._telling or bool(self._news)

    def _join(self, now: float) -> None:
        manners, who = self._manners, self.credentials
        application = Application(self._topics, self.owned, manners.session, manners.max_poll)
        group = self._process.cluster.classic(self._group)
        self._member = self._process.ask(Step.JOIN, lambda: group.join(who, application, now))
        self._must_join, self._waiting = False, True
        self._await_generation(now)

    def _await_generation(self, now: float) -> None:
        group, who = self._process.cluster.classic(self._group), self.credentials
        if group.heartbeat(who):
            self._join(now)
            return
        if (answer := group.answer(who)) is None:
            return
        self._waiting = False
        self._next_heartbeat = now + self._manners.heartbeat
        self._generation, assigned = answer
        if revoked := self.owned - assigned:
            self._news.append((News.REVOKED, revoked))
        self._news.append((News.ASSIGNED, assigned - self.owned))
        # What was given up finds its new owner in a further generation.
        self._must_join = bool(revoked)

    def _leave_unpolled(self) -> None:
        reason = "Application maximum poll interval exceeded"
        self.errors.append(KafkaError(KafkaError._MAX_POLL_EXCEEDED, reason))
        self._polled = None
        self._say_goodbye()
        self._forget()

    def _cast_out(self, code: int) -> None:
        if code == KafkaError.FENCED_INSTANCE_ID:
            reason = "Static consumer fenced by other consumer with same group.instance.id"
            self.fatal = KafkaError(KafkaError._FATAL, reason, fatal=True)
            self.errors.append(self.fatal)
            return
        self._forget()

    def _forget(self) -> None:
        """The assignment is lost; what was still to be told of it is no longer so."""
        self._member, self._generation = "", -1
        self._waiting = self._must_join = False
        self._news.clear()
        self._news.append((News.LOST, frozenset()))

    def _now(self) -> float:
        return self._process.cluster.clock.now()


class LedMembership(Membership):
    """The same by KIP-848: the coordinator says in answer to heartbeats what to give up, and then what to take.

    The application is told the same news; the epoch may change without any.
    """

    _told_less = False

    def told(self, news: News, places: frozenset[Place]) -> None:
        super().told(news, places)
        self._next_heartbeat = 0.0

    def _talk(self, now: float) -> None:
        if now < self._next_heartbeat or (self._untold and not self._member):
            return
        group = self._process.cluster.led(self._group)
        if not self._member:
            application = Application(self._topics, self.owned, self._manners.session, self._manners.max_poll)
            self._member = self._process.ask(Step.JOIN, lambda: group.join(application, now))
            self._generation = 0
        self._next_heartbeat = now + self._manners.heartbeat
        if self._untold:
            # It lives, and has not yet done what it was told last.
            return
        who, owned = self.credentials, self.owned
        self._generation, assigned = self._process.ask(
            Step.HEARTBEAT, lambda: group.heartbeat(who, owned, now)
        )
        if revoked := owned - assigned:
            self._news.append((News.REVOKED, revoked))
            self._told_less = True
        elif (added := assigned - owned) or self._told_less:
            self._news.append((News.ASSIGNED, added))
            self._told_less = False

    def _forget(self) -> None:
        super()._forget()
        self._next_heartbeat = 0.0
