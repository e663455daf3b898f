"""The input side of Kafka: polls, assignments and revocations, pause and resume, commits.

One thread owns the consumer: it polls, serves the rebalance callbacks and commits, so that no commit can race the
hand-over of a partition.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import methodcaller

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream.errors import FatalError
from stream.letters import UNREADABLE
from stream.metrics import StageMetrics
from stream.offsets import OffsetLedger
from stream.records import Headers, Polled, distinct

log = logging.getLogger(__name__)

Drain = Callable[[Sequence[int]], None]

# The client fails at a header whose name is no UTF-8, and in this way the interpreter looks whether it did. A plain
# call, once it is optimised, gives back the half of an answer that there is then, and the process ends by it.
_ask_for_headers = methodcaller("headers")

_HOPELESS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
}


@dataclass(frozen=True, slots=True)
class PollLimits:
    """`wait` seconds for a first record; when records are flowing, at most `coalesce` seconds for `claims` of them."""

    claims: int
    wait: float
    coalesce: float


class ClaimConsumer:
    """A member of the consumer group. `drain` finishes what is in flight of partitions about to be given away."""

    def __init__(
        self,
        client: Consumer,
        topic: str,
        ledger: OffsetLedger,
        metrics: StageMetrics,
        limits: PollLimits,
        drain: Drain,
    ) -> None:
        self._client = client
        self._topic = topic
        self._ledger = ledger
        self._metrics = metrics
        self._limits = limits
        self._drain = drain
        self._flowing = False
        self._paused = False
        self._pause_again = False
        self.joined = threading.Event()
        self._positions: dict[int, int] = {}
        self._came: set[int] = set()

    def join(self) -> None:
        """Subscribe; partitions arrive during later polls, and `joined` is set with the first of them, or none."""
        self._client.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def receive(self, patience: float) -> list[Message]:
        """The next messages, possibly none. Waits for the client and serves the group.

        `patience`: seconds to wait for more of them while they are flowing.
        """
        if self._pause_again:
            self._client.pause(self._owned())
            self._pause_again = False
        first = self._client.poll(0.0 if self._flowing else self._limits.wait)
        if first is None:
            self._flowing = False
            return []
        wait = min(patience, self._limits.coalesce) if self._flowing else 0.0
        self._came.clear()
        more = self._client.consume(self._limits.claims - 1, wait)
        self._flowing = bool(more)
        # Its partition was lost and came back inside `consume`, which reads it anew from what is committed.
        outdated = first.partition() in self._came and first.error() is None
        return more if outdated else [first, *more]

    def columns(self, messages: list[Message]) -> Polled | None:
        """The records of owned partitions among messages, or None. Raises FatalError for an error that stays."""
        sound = [message for message in messages if message.error() is None]
        if len(sound) < len(messages):
            self._report(message.error() for message in messages if message.error() is not None)
        return self._columns(sound) if sound else None

    def pause(self) -> None:
        """Stop fetching; the client goes on polling so that the group keeps this member."""
        self._client.pause(self._owned())
        self._paused = True
        self._metrics.count("reading_paused_total")

    def resume(self) -> None:
        self._client.resume(self._owned())
        self._paused = self._pause_again = False

    def commit(self, offsets: Mapping[int, int], *, wait: bool = False) -> None:
        """Commit next offsets; without `wait` the answer comes through `note_commit` in a later poll."""
        positions = [TopicPartition(self._topic, p, offset) for p, offset in offsets.items()]
        self._ledger.committed(offsets)
        try:
            self._client.commit(offsets=positions, asynchronous=not wait)
        except KafkaException as error:
            self.note_commit(error.args[0], positions)
            return
        if wait:
            self.note_commit(None, positions)

    def note_commit(self, error: KafkaError | None, positions: list[TopicPartition]) -> None:
        """Count how a commit ended; one that failed is made good by the next, which covers it."""
        if error is not None:
            log.warning("a commit failed: %s", error)
            self._ledger.uncommitted(position.partition for position in positions)
        self._metrics.count("commits_total", 1, "failed" if error is not None else "done")

    def report_lag(self) -> None:
        """Set the lag gauges from what the client already knows."""
        self._metrics.drop("consumer_lag")
        for partition in self._ledger.owned():
            read_to = self._positions.get(partition)
            if read_to is None:
                continue
            _, end = self._client.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            self._metrics.set("consumer_lag", max(end - read_to, 0), str(partition))

    def close(self) -> None:
        """Leave the group; the revoke callback commits what is delivered."""
        self._client.close()

    def _columns(self, messages: list[Message]) -> Polled | None:
        count = len(messages)
        partitions = np.fromiter((m.partition() for m in messages), np.int64, count)
        epochs = self._ledger.epochs(partitions)
        if not epochs.all():
            # A rebalance inside this very poll took the partition away.
            return (
                self._columns([m for m, e in zip(messages, epochs.tolist(), strict=True) if e])
                if epochs.any()
                else None
            )
        offsets = np.fromiter((m.offset() for m in messages), np.int64, count)
        for partition in distinct(partitions):
            self._positions[partition] = int(offsets[partitions == partition].max()) + 1
        return Polled(
            values=[m.value() for m in messages],
            keys=[m.key() for m in messages],
            headers=_headers(messages),
            partitions=partitions,
            offsets=offsets,
            epochs=epochs,
            timestamps=np.fromiter((m.timestamp()[1] for m in messages), np.int64, count),
        )

    def _owned(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in self._ledger.owned()]

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("assigned partitions %s", _numbers(partitions))
        self._ledger.assign(_numbers(partitions))
        self._came.update(_numbers(partitions))
        self.joined.set()
        # The client assigns them when this returns; only then can they be paused like the others.
        self._pause_again = self._paused

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        # The client gives the partitions away as soon as this returns: finish, commit, then forget.
        numbers = _numbers(partitions)
        self._drain(numbers)
        if offsets := self._ledger.committable(numbers):
            self.commit(offsets, wait=True)
        left = self._ledger.pending(numbers)
        log.info("gave back partitions %s, %d claims unfinished", numbers, left)
        self._ledger.forget(numbers)

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        log.warning("lost partitions %s; what was in flight belongs to their new owner", _numbers(partitions))
        self._ledger.forget(_numbers(partitions))

    def _report(self, errors: Iterable[KafkaError | None]) -> None:
        for error in errors:
            if error is None:
                continue
            if error.fatal() or error.code() in _HOPELESS:
                raise FatalError(f"the consumer of {self._topic!r} cannot go on: {error.str()}")
            log.warning("the consumer reported: %s", error)
            self._metrics.count("client_errors_total", 1, error.name())


def _numbers(partitions: list[TopicPartition]) -> list[int]:
    return sorted(partition.partition for partition in partitions)


def _headers(messages: list[Message]) -> dict[int, Headers]:
    given: list[Headers | None] = []
    while len(given) < len(messages):
        try:
            given.extend(map(_ask_for_headers, islice(messages, len(given), None)))
        except SystemError:
            # `given` ends before the message at fault, which is not asked again: its next answer holds a null pointer.
            bad = messages[len(given)]
            log.warning("the headers of %d@%d cannot be read", bad.partition(), bad.offset())
            given.append([(UNREADABLE, None)])
    return {row: headers for row, headers in enumerate(given) if headers} if any(given) else {}
