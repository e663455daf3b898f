"""In place of confluent_kafka.Consumer: the same calls, callbacks and errors, without a thread or a socket."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ClusterMetadata, PartitionMetadata, TopicMetadata

from stream.embedded.simulated.faults import RefusedError, Step, UnansweredError
from stream.embedded.simulated.fetching import Fetcher
from stream.embedded.simulated.groups import Credentials, Offsets
from stream.embedded.simulated.membership import LedMembership, Manners, Membership, News
from stream.embedded.simulated.message import Message, Place, failure
from stream.embedded.simulated.pending_commits import UNSENT, PendingCommits
from stream.embedded.simulated.readings import NOTHING, Readings

if TYPE_CHECKING:
    from stream.embedded.simulated.cluster import SimulatedProcess

RebalanceCallback = Callable[["SimulatedConsumer", list[TopicPartition]], None]
T = TypeVar("T")
_FOREVER = 1e9


class SimulatedConsumer:
    """A member of a consumer group; cooperative-sticky, or led by the coordinator (KIP-848).

    `poll` and `consume` never wait: whoever drives lets time pass where a poll `found_nothing`.
    """

    def __init__(self, options: dict[str, Any], process: SimulatedProcess) -> None:
        self._options = options
        self._process = process
        self._group: str = options["group.id"]
        self._membership = _membership(options, process)
        self._fetcher = Fetcher(
            process,
            committed=options.get("isolation.level", "read_committed") == "read_committed",
            prefetch=options.get("queued.min.messages", 100_000),
        )
        self._on_commit: Callable[..., None] | None = options.get("on_commit")
        self._callbacks: dict[News, RebalanceCallback | None] = {}
        self._commits = PendingCommits()
        self._answered: deque[tuple[KafkaError | None, list[TopicPartition]]] = deque()
        self._readings = Readings(process.cluster.readings, process.name)
        self._closed = False
        self.found_nothing = False

    def subscribe(
        self,
        topics: list[str],
        on_assign: RebalanceCallback | None = None,
        on_revoke: RebalanceCallback | None = None,
        on_lost: RebalanceCallback | None = None,
    ) -> None:
        self._check()
        self._callbacks = {News.ASSIGNED: on_assign, News.REVOKED: on_revoke, News.LOST: on_lost or on_revoke}
        self._membership.subscribe(tuple(topics))

    def poll(self, timeout: float = -1) -> Message | None:
        messages = self._take(1)
        self.found_nothing = not messages
        return messages[0] if messages else None

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        return self._take(num_messages)

    def pause(self, partitions: list[TopicPartition]) -> None:
        self._check()
        self._fetcher.pause(map(_place, partitions), paused=True)

    def resume(self, partitions: list[TopicPartition]) -> None:
        self._check()
        self._fetcher.pause(map(_place, partitions), paused=False)

    def assignment(self) -> list[TopicPartition]:
        self._check()
        return [TopicPartition(*place) for place in self._fetcher.places]

    def commit(
        self,
        message: Message | None = None,
        offsets: list[TopicPartition] | None = None,
        asynchronous: bool = True,
    ) -> list[TopicPartition] | None:
        self._process.give_way()
        self._check()
        given = self._named(message, offsets)
        if asynchronous:
            self._commits.add(given)
            return None
        return self._commit_now(given)

    def committed(self, partitions: list[TopicPartition], timeout: float = _FOREVER) -> list[TopicPartition]:
        self._check()
        places = [_place(partition) for partition in partitions]
        found: dict[Place, tuple[int, str | None]] = {}

        def answered() -> bool:
            try:
                answer = self._process.ask(Step.COMMITTED, lambda: self._stable(places))
            except (RefusedError, UnansweredError):
                return False
            if answer is not None:
                found.update(answer)
                self._readings.tell({place: answer.get(place, NOTHING) for place in places})
            return answer is not None

        if not self._process.wait(answered, timeout):
            raise _timed_out("Failed to get committed offsets")
        return [_partition(place, *found.get(place, (OFFSET_INVALID, None))) for place in places]

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        self._check()
        places = [_place(partition) for partition in partitions]
        positions = [self._fetcher.position(place) for place in places]
        return [
            TopicPartition(*place, OFFSET_INVALID if position is None else position)
            for place, position in zip(places, positions, strict=True)
        ]

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = _FOREVER, cached: bool = False
    ) -> tuple[int, int]:
        self._check()
        place = _place(partition)
        if cached:
            high = self._fetcher.high(place)
            return (OFFSET_INVALID, OFFSET_INVALID) if high is None else (0, high)
        try:
            return 0, self._answered_to(
                Step.WATERMARKS,
                lambda: self._process.cluster.log(*place).end,
                timeout,
                "Failed to get watermark offsets",
            )
        except RefusedError as refusal:
            raise failure(
                KafkaError._UNKNOWN_PARTITION,
                "Failed to get watermark offsets: Local: Unknown partition",
            ) from refusal

    def list_topics(self, topic: str, timeout: float = -1) -> ClusterMetadata:
        """Of one topic. Unlike the real client this one may be asked in a callback as well."""
        self._check()
        found = ClusterMetadata()
        count = self._answered_to(
            Step.METADATA,
            lambda: self._process.cluster.partitions(topic),
            timeout if timeout >= 0.0 else _FOREVER,
            "Failed to get metadata",
        )
        found.topics[topic] = TopicMetadata()
        found.topics[topic].topic = topic
        found.topics[topic].partitions = {number: PartitionMetadata() for number in range(count)}
        return found

    def consumer_group_metadata(self) -> Credentials:
        """What `send_offsets_to_transaction` takes."""
        self._process.give_way()
        self._check()
        return self._membership.credentials

    def memberid(self) -> str:
        self._process.give_way()
        self._check()
        return self._membership.member

    def close(self) -> None:
        """Give the partitions back, which tells the application, and leave the group."""
        if self._closed:
            return
        self._process.check()
        self.background()
        self._serve(self._readings.given_at)
        if owned := self._membership.owned:
            self._tell(News.REVOKED, owned, self._readings.given_at)
        self.background()
        # Its own thread does this before it says goodbye, however little time it had before.
        self._send_commits()
        self._serve_commits()
        self._membership.leave()
        self._closed = True

    def beat(self, now: float) -> None:
        """Its heartbeat arrives."""
        if not self._closed:
            self._membership.beat(now)

    def background(self) -> None:
        """What the client's own thread does: commits, the group, reading ahead.

        A commit goes out before the client says anything more to its group; one that found no coordinator after it has
        joined again, in the name that it has then (`rd_kafka_cgrp_serve` of librdkafka).
        """
        if self._closed or self._process.frozen or self._process.dawdles():
            return
        self._process.cluster.settle()
        if self._commits.untried:
            self._send_commits()
        self._membership.background()
        self._send_commits()
        self._find_starts()
        self._fetcher.fetch()

    def _take(self, count: int) -> list[Message]:
        """Messages; callbacks come before and after they were taken, and void those whose partition went."""
        asked, is_current = self._now(), self._fetcher.is_current
        self._process.give_way()
        self._check()
        self.background()
        self._membership.polling()
        try:
            self._serve()
            errors = [Message(None, 0, None, error, error.str().encode()) for error in self._errors()]
            taken = list(islice(iter(self._fetcher.next, None), max(count - len(errors), 0)))
            if count > 1:
                self.background()
                self._serve()
            given = [
                Message(*place, record) for place, version, record in taken if is_current(place, version)
            ]
            self._readings.give(given, asked)
            return errors + given
        finally:
            self._membership.polled()

    def _errors(self) -> list[KafkaError]:
        errors = list(self._membership.errors)
        self._membership.errors.clear()
        return errors

    def _serve(self, since: float = math.inf) -> None:
        self._serve_commits()
        while (news := self._membership.next_news()) is not None:
            self._tell(*news, since)

    def _serve_commits(self) -> None:
        while self._answered:
            error, positions = self._answered.popleft()
            if self._on_commit is not None:
                self._on_commit(error, positions)

    def _tell(self, news: News, places: frozenset[Place], since: float) -> None:
        """`since`: when it may have begun to get ready for this, where that was before it is told."""
        callback, began = self._callbacks.get(news), min(since, self._now())
        self._membership.telling()
        try:
            if callback is not None:
                callback(self, [TopicPartition(*place) for place in sorted(places)])
            if news is News.REVOKED and not self._process.struck:
                self._readings.hand_over(places, self._now() - began)
        finally:
            self._membership.told(news, places)
            if news is News.ASSIGNED:
                self._fetcher.add(places)
            else:
                self._fetcher.remove(places)
                self._readings.end(places)

    def _named(self, message: Message | None, offsets: list[TopicPartition] | None) -> Offsets:
        if message is not None:
            offsets = [TopicPartition(message.topic(), message.partition(), (message.offset() or 0) + 1)]
        if offsets is None:
            raise NotImplementedError("commits name their offsets: this client stores none")
        return {_place(each): (each.offset, each.metadata) for each in offsets}

    def _commit_now(self, offsets: Offsets) -> list[TopicPartition]:
        if self._membership.fatal is not None:
            raise failure(KafkaError._FATAL, "Commit failed: Local: Fatal error")
        if self._commits.untried:
            self._send_commits()
        answer: list[KafkaError | None] = []

        def answered() -> bool:
            try:
                answer.append(self._answer(offsets))
            except UnansweredError:
                return False
            return True

        if not self._process.wait(answered, self._membership.session):
            raise failure(KafkaError._WAIT_COORD, UNSENT)
        if (error := answer[0]) is not None:
            raise failure(error.code(), error.str())
        return _positions(offsets)

    def _send_commits(self) -> None:
        for offsets, error in self._commits.send(self._answer, self._now(), self._membership.session):
            self._answered.append((error, _positions(offsets)))

    def _answer(self, offsets: Offsets) -> KafkaError | None:
        """Raises UnansweredError."""
        try:
            self._process.ask(Step.COMMIT, lambda: self._apply(offsets))
        except RefusedError as refusal:
            return KafkaError(refusal.code, f"Commit failed: {KafkaError(refusal.code).str()}")
        return None

    def _apply(self, offsets: Offsets) -> None:
        """As the member that this is now: a commit that waited for its coordinator is written anew when it is sent."""
        for place in offsets:
            self._process.cluster.log(*place)
        self._process.cluster.group(self._group).commit(self._membership.credentials, offsets)
        self._readings.commit(offsets)

    def _find_starts(self) -> None:
        """Begin where the group left off; wait while a transaction may still move that."""
        if not (places := self._fetcher.unplaced()):
            return
        try:
            found = self._process.ask(Step.COMMITTED, lambda: self._stable(places))
        except (RefusedError, UnansweredError):
            return
        for place in places if found is not None else ():
            commit = found[place] if found and place in found else (self._reset(place), None)
            self._fetcher.begin(place, commit[0])
            self._readings.begin(place, commit[0], commit)

    def _answered_to(self, step: Step, request: Callable[[], T], timeout: float, what: str) -> T:
        """The answer to a request that is made until somebody answers. Raises RefusedError, KafkaException."""
        answers: list[T] = []

        def answered() -> bool:
            try:
                answers.append(self._process.ask(step, request))
            except UnansweredError:
                return False
            return True

        if not self._process.wait(answered, timeout):
            raise _timed_out(what)
        return answers[0]

    def _reset(self, place: Place) -> int:
        earliest = self._options.get("auto.offset.reset", "latest") == "earliest"
        return 0 if earliest else self._process.cluster.log(*place).end

    def _stable(self, places: Sequence[Place]) -> dict[Place, tuple[int, str | None]] | None:
        group = self._process.cluster.group(self._group)
        if any(group.unstable.get(place) for place in places):
            return None
        return {place: group.offsets[place] for place in places if place in group.offsets}

    def _check(self) -> None:
        self._process.check()
        if self._closed:
            raise RuntimeError("Consumer closed")

    def _now(self) -> float:
        return self._process.cluster.clock.now()


def _membership(options: dict[str, Any], process: SimulatedProcess) -> Membership:
    """By the group protocol that the options name."""
    longest = options.get("max.poll.interval.ms", 300_000) / 1_000
    if options.get("group.protocol") == "consumer":
        rhythm = process.cluster.rhythm
        manners = Manners(rhythm.heartbeat, rhythm.session, longest, instance=None)
        return LedMembership(process, options["group.id"], manners)
    heartbeat, session = (
        options.get("heartbeat.interval.ms", 3_000),
        options.get("session.timeout.ms", 45_000),
    )
    manners = Manners(heartbeat / 1_000, session / 1_000, longest, options.get("group.instance.id"))
    return Membership(process, options["group.id"], manners)


def _place(partition: TopicPartition) -> Place:
    return partition.topic, partition.partition


def _partition(place: Place, offset: int, metadata: str | None) -> TopicPartition:
    if metadata is None:
        return TopicPartition(*place, offset)
    return TopicPartition(*place, offset, metadata=metadata)


def _positions(offsets: Offsets) -> list[TopicPartition]:
    return [_partition(place, offset, metadata) for place, (offset, metadata) in offsets.items()]


def _timed_out(what: str) -> KafkaException:
    return failure(KafkaError._TIMED_OUT, f"{what}: Local: Timed out")
