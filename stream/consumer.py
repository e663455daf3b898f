"""The input side of Kafka: polls, assignments and revocations, pause and resume, commits.

One thread owns the consumer: it polls, serves the rebalance callbacks and commits, so that no commit can race the
hand-over of a partition. A partition is not read further while it is not known what its earlier owners completed, or
while what completes of the records read might not fit into the metadata of a commit; what the same poll brought of it
is held.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream.client_watch import reaches_cluster
from stream.clock import Clock
from stream.commits import OffsetCommits, positions
from stream.committed import runs
from stream.consumer_errors import refuse_undecided, refuse_what_stays
from stream.errors import FatalError
from stream.held import Held
from stream.letters import headers_of
from stream.metrics import StageMetrics
from stream.offset_metadata import NOTHING
from stream.offsets import OffsetLedger, Standing
from stream.pauses import Pauses
from stream.read_positions import ReadPositions
from stream.records import Flags, Integers, Polled, distinct
from stream.rhythm import PollLimits

log = logging.getLogger(__name__)

Drain = Callable[[Sequence[int]], None]

# Seconds of tries to learn offsets, and between them; and after how many it is told.
_FIRST_TRY, _SHORT_TRY, _LONG_TRY = 0.5, 0.1, 5.0
_BETWEEN_TRIES = 0.4
_TRIES_TOLD = 8
_RENEWAL = 0.25
_NEWS_SECONDS = 0.5


class ClaimConsumer:
    """A member of the consumer group. `drain` finishes what is in flight of partitions about to be given away.

    `commits`: how offsets are committed; without it they go with the producer's transactions. `from_end`: the client
    begins at the end of a partition without a commit.
    """

    def __init__(
        self,
        client: Consumer,
        topic: str,
        ledger: OffsetLedger,
        metrics: StageMetrics,
        limits: PollLimits,
        drain: Drain,
        clock: Clock,
        commits: OffsetCommits | None = None,
        *,
        from_end: bool = False,
    ) -> None:
        self._client = client
        self._topic = topic
        self._ledger = ledger
        self._metrics = metrics
        self._limits = limits
        self._drain = drain
        self._clock = clock
        self._commits = commits
        # What the broker knows this member by; read by whoever commits offsets elsewhere.
        self.membership: Any = None
        self._renew_at = float("-inf")
        self._flowing = False
        self._pauses = Pauses(client, topic)
        self.joined = threading.Event()
        self._positions = ReadPositions(from_end=from_end)
        self._held = Held[Message](limits.claims, limits.held_bytes)
        self._unknown: set[int] = set()
        self._tries, self._next_try = 0, float("-inf")
        self._came: set[int] = set()
        self._moving = False

    def join(self) -> None:
        """Subscribe; partitions arrive during later polls, and `joined` is set with the first of them, or none."""
        self._client.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def renew(self, now: float) -> None:
        """Bring the membership up to date, where offsets are not committed here.

        The client's call waits for its own thread without letting the interpreter lock go, so it is made only now and
        then, and when there is a reason to. A membership that is out of date costs an aborted transaction, no more.
        One of nobody would pass for a producer that knows no groups: the broker takes offsets in its transactions from
        anyone. A member that was cast out and has not been told yet has it, and goes on with the one that is refused.
        """
        if self._commits is None and now >= self._renew_at:
            # First, or a reason that comes meanwhile would be forgotten.
            self._renew_at = now + _RENEWAL
            membership = self._client.consumer_group_metadata()
            # Asked afterwards: only a poll of this thread can make somebody of nobody.
            if self._client.memberid():
                self.membership = membership

    def reaches_cluster(self) -> bool:
        """Whether its client can ask for metadata; from any thread."""
        return reaches_cluster(self._client, self._topic)

    def outdate(self) -> None:
        """Somebody has reason to think that the membership changed; from any thread."""
        self._renew_at = float("-inf")

    def receive(self, patience: float) -> list[Message]:
        """The next messages, possibly none. Waits for the client and serves the group. Raises FatalError.

        They are as many as a poll may bring, and one more where so many were held.
        `patience`: seconds to wait for more of them while they are flowing.
        """
        self._get_ready()
        held = self._held.let_go(self._ready) if self._held.partitions and not self._pauses.everything else []
        first = self._client.poll(0.0 if self._flowing or held else self._limits.wait)
        if first is None:
            self._flowing = False
            return self._without_outdated(held)
        wait = min(patience, self._limits.coalesce) if self._flowing else 0.0
        held = self._without_outdated(held)
        self._came.clear()
        more = self._client.consume(max(self._limits.claims - 1 - len(held), 0), wait)
        self._flowing = bool(more)
        return [*self._without_outdated([*held, first]), *more]

    def trickle(self) -> list[Message]:
        """One message, or none, without waiting: what counts is that the group is served. Raises FatalError."""
        self._get_ready()
        first = self._client.poll(0.0)
        return [] if first is None else [first]

    def _get_ready(self) -> None:
        """Before each poll. Raises FatalError."""
        if self._commits is not None and self._commits.gone:
            raise FatalError(self._commits.gone)
        if self._moving:
            self._hasten()
        if self._unknown and self._clock.now() >= self._next_try:
            self._learn(sorted(self._unknown))
        self._came.clear()
        # First, so that no more comes now of a partition whose held records are let go.
        self._apply_pauses()

    def _without_outdated(self, messages: list[Message]) -> list[Message]:
        """Without records whose partition was lost and came back meanwhile: it is read anew from what is committed."""
        if not self._came:
            return messages
        return [m for m in messages if m.error() is not None or m.partition() not in self._came]

    def take_in(self, messages: list[Message]) -> Polled | None:
        """Of messages the records that may be taken now, or None; of owned partitions others are held.

        Raises FatalError for an error that stays, or offsets that go back, StopError where nobody says where to begin.
        """
        sound = [message for message in messages if message.error() is None]
        if len(sound) < len(messages):
            failed = [message for message in messages if message.error() is not None]
            refuse_undecided(failed)
            self._report(message.error() for message in failed)
        return self._take_in(sound) if sound else None

    def pause(self) -> None:
        """Stop fetching; the client goes on polling so that the group keeps this member."""
        self._pauses.everything = True
        self._apply_pauses()
        self._metrics.count("reading_paused_total")

    def resume(self) -> None:
        self._pauses.everything = False
        self._apply_pauses()

    def give_way(self, partitions: frozenset[int]) -> None:
        """Read none of these, until told otherwise."""
        if partitions != self._pauses.yielding:
            self._pauses.yielding = partitions
            self._apply_pauses()

    def commit(self, standings: Mapping[int, Standing], now: float) -> None:
        """Where offsets are committed here: begin to; the answer comes in a later poll."""
        if self._commits is not None:
            self._commits.begin(standings, now)

    def positions(self, standings: Mapping[int, Standing]) -> list[TopicPartition]:
        """Standings as the clients take them."""
        return positions(self._topic, standings)

    def lags(self) -> dict[int, int]:
        """Records of each partition that are still to be read, as far as the client knows without asking."""
        lags = {each: self._positions.lag(each, *self._bounds_of(each)) for each in self._ledger.owned()}
        return {partition: lag for partition, lag in lags.items() if lag is not None}

    def _bounds_of(self, partition: int) -> tuple[int, int]:
        """First offset and end as of the last fetch, negative before there was one."""
        first, end = self._client.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
        return int(first), int(end)

    def report_lag(self) -> None:
        """Set the lag gauges."""
        self._metrics.drop("consumer_lag")
        lags = self.lags()
        for partition, lag in lags.items():
            self._metrics.set("consumer_lag", lag, str(partition))
        # A group that begins at the end has no lag before it read something, and lacks nothing.
        missing = [each for each in self._ledger.owned() if each not in lags]
        unknown = [each for each in missing if each in self._unknown or self._bounds_of(each)[1] < 0]
        self._metrics.set("partitions_unknown", len(unknown))

    def close(self) -> None:
        """Leave the group; the revoke callback commits what is delivered."""
        self._client.close()

    def _take_in(self, messages: list[Message], *, fitting: bool = False) -> Polled | None:
        count = len(messages)
        partitions = np.fromiter((m.partition() for m in messages), np.int64, count)
        epochs = self._ledger.epochs(partitions)
        if not epochs.all():
            # A rebalance inside this very poll took the partition away.
            return (
                self._take_in([m for m, e in zip(messages, epochs.tolist(), strict=True) if e])
                if epochs.any()
                else None
            )
        offsets = np.fromiter((m.offset() for m in messages), np.int64, count)
        if not fitting and not (fits := self._fitting(messages, partitions, offsets)).all():
            kept = [m for m, fit in zip(messages, fits.tolist(), strict=True) if fit]
            return self._take_in(kept, fitting=True) if kept else None
        for partition in distinct(partitions):
            own = offsets[partitions == partition]
            if own[0] < self._positions.read_to(partition):
                self._turned_back(partition, int(own[0]))
            self._positions.read(partition, int(own.max()) + 1)
        return Polled(
            values=[m.value() for m in messages],
            keys=[m.key() for m in messages],
            headers=headers_of(messages),
            partitions=partitions,
            offsets=offsets,
            epochs=epochs,
            timestamps=np.fromiter((m.timestamp()[1] for m in messages), np.int64, count),
        )

    def _turned_back(self, partition: int, offset: int) -> None:
        """Nothing seeks. What is noted of a topic that is gone must not be committed for the one in its place.

        Raises FatalError.
        """
        read_to = self._positions.read_to(partition)
        self._forget(self._ledger.owned())
        raise FatalError(
            f"partition {partition} of {self._topic!r} goes on at offset {offset}, though it was read up to {read_to}: "
            "the topic was made anew, or lost records; what it has now is read anew, and nothing of before is committed"
        )

    def _fitting(self, messages: list[Message], partitions: Integers, offsets: Integers) -> Flags:
        """Which messages may be taken now; the others are held, and their partitions not read further."""
        fitting = np.ones(len(messages), np.bool_)
        for partition in distinct(partitions):
            places = np.flatnonzero(partitions == partition)
            waits = partition in self._held.partitions or partition in self._unknown
            room = 0 if waits else self._ledger.fits(partition, offsets[places])
            if room < len(places):
                fitting[places[room:]] = False
                self._hold(partition, [messages[place] for place in places[room:].tolist()])
        return fitting

    def _hold(self, partition: int, messages: list[Message]) -> None:
        if partition not in self._held.partitions:
            self._metrics.count("partitions_held_total")
        self._held.add(partition, messages)
        self._apply_pauses()

    def _ready(self, partition: int) -> bool:
        """Whether what was held of it may be taken, or a part of that."""
        return partition not in self._unknown and self._ledger.roomy(partition)

    def _learn(self, partitions: list[int]) -> None:
        """Ask what earlier owners completed beyond their last commit; a partition stays unknown until that is known.

        And of which topic it is, where that has to be the same at a commit.

        Other partitions wait for the answer too, and of a partition whose last owner died in a transaction there is
        none before that times out. So there is time between tries, and most are short: the fourth is twice as long,
        the eighth four times, and so on, for brokers that take longer.
        """
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        self._tries += 1
        longer = max((self._tries & -self._tries) / 2, 1.0)
        patience = _FIRST_TRY if self._tries == 1 else min(_SHORT_TRY * longer, _LONG_TRY)
        try:
            if self._commits is not None and not self._commits.knows_topic(patience):
                self._next_try = self._clock.now() + _BETWEEN_TRIES
                return
            answers = self._client.committed(asked, patience)
        except KafkaException as error:
            self._next_try = self._clock.now() + _BETWEEN_TRIES
            if self._tries == _TRIES_TOLD:
                log.warning("partitions %s are not read yet: their offsets cannot be learned", partitions)
            self._report([error.args[0]], hurried=True)
            return
        self._tries, self._next_try = 0, float("-inf")
        self._report(answer.error for answer in answers if answer.error is not None)
        for answer in answers:
            if answer.error is None:
                self._unknown.discard(answer.partition)
                self._positions.began(answer.partition, answer.offset)
                self._ledger.inherit(answer.partition, self._beyond(answer))

    def _beyond(self, committed: TopicPartition) -> Integers:
        try:
            return runs(committed)
        except ValueError as error:
            log.warning(
                "partition %d: the metadata of the commit at %d are ignored: %s",
                committed.partition,
                committed.offset,
                error,
            )
            self._metrics.count("offset_metadata_ignored_total")
            return NOTHING

    def _forget(self, partitions: list[int]) -> None:
        self._ledger.forget(partitions)
        self._unknown -= set(partitions)
        for partition in partitions:
            self._held.forget(partition)
            self._positions.forget(partition)

    def _apply_pauses(self) -> None:
        owned = self._ledger.owned()
        self._pauses.apply(owned, owned if self._held.full else {*self._held.partitions, *self._unknown})

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("assigned partitions %s", _numbers(partitions))
        numbers = _numbers(partitions)
        self._forget(numbers)
        self._ledger.assign(numbers)
        self._unknown |= set(numbers)
        self._came.update(numbers)
        if numbers:
            self._learn(numbers)
        self.joined.set()
        self.outdate()
        self._moving = True

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        # The client gives the partitions away as soon as this returns: finish, commit, then forget.
        numbers = _numbers(partitions)
        self.outdate()
        self.renew(0.0)
        self._drain(numbers)
        if self._commits is not None:
            self._commits.finish(numbers)
        left = self._ledger.pending(numbers)
        log.info("gave back partitions %s, %d claims unfinished", numbers, left)
        self._let_leave(numbers)
        self._moving = True

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        log.warning("lost partitions %s; what was in flight belongs to their new owner", _numbers(partitions))
        self._let_leave(_numbers(partitions))

    def _hasten(self) -> None:
        """The client joins its group once a second at most, unless it had news of the cluster since it joined last.

        A partition moves by two joins of both members, and lies idle meanwhile. Not to be called in a callback: the
        client would end the process at the next one within the same poll.
        """
        self._moving = False
        try:
            self._client.list_topics(self._topic, _NEWS_SECONDS)
        except KafkaException as error:
            self._report([error.args[0]], hurried=True)

    def _let_leave(self, partitions: list[int]) -> None:
        self._forget(partitions)
        self._pauses.gone(partitions)

    def _report(self, errors: Iterable[KafkaError | None], *, hurried: bool = False) -> None:
        """`hurried`: a call had little time on purpose; that it takes longer while a group moves is no news."""
        for error in filter(None, errors):
            refuse_what_stays(error, self._topic)
            expected = hurried and error.code() == KafkaError._TIMED_OUT  # noqa: SLF001 - its public name
            log.log(logging.INFO if expected else logging.WARNING, "the consumer reported: %s", error)
            self._metrics.count("client_errors_total", 1, error.name())


def _numbers(partitions: list[TopicPartition]) -> list[int]:
    return sorted(partition.partition for partition in partitions)
