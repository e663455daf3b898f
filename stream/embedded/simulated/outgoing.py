"""A producer's queue on its way to the log: order, retries, sequence numbers, acknowledgements."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError

from stream.embedded.simulated.faults import RefusedError, Step, UnansweredError
from stream.embedded.simulated.log import Author
from stream.embedded.simulated.message import Message, Place, Record
from stream.embedded.simulated.partitioner import partition_of
from stream.embedded.simulated.transactions import Identity

if TYPE_CHECKING:
    from stream.embedded.simulated.cluster import SimulatedProcess

_AT_ONCE = 100


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message on its way. `due`: when its lingering ends; `given_up`: when it fails for good."""

    topic: str
    partition: int
    record: Record
    on_delivery: Callable[..., None] | None
    due: float
    given_up: float
    sequence: int = -1

    @property
    def place(self) -> Place:
        return self.topic, self.partition

    def message(self, error: KafkaError | None) -> Message:
        return Message(self.topic, self.partition, self.record, error)


class Sender:
    """Sends batches, one partition's in order; what nobody answered is sent again."""

    def __init__(self, options: dict[str, Any], process: SimulatedProcess) -> None:
        self._process = process
        self._gapless: bool = options.get("enable.gapless.guarantee", False)
        self._backoff: float = options.get("retry.backoff.ms", 100) / 1_000
        transactional = "transactional.id" in options
        self._idempotent: bool = options.get("enable.idempotence", False) or transactional
        self._queues: dict[Place, deque[Outgoing]] = {}
        self._acknowledged: deque[tuple[float, Outgoing]] = deque()
        self._sequences: dict[Place, int] = {}
        self._joined: set[Place] = set()
        self._alarm: KafkaError | None = None
        self._number = process.cluster.new_producer()
        self.transactional = transactional
        self.identity: Identity | None = None
        self.fatal: KafkaError | None = None
        self.failed: KafkaError | None = None
        self.gap = False
        self.reports: deque[tuple[Outgoing, KafkaError | None]] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._queues.values())) + len(self._acknowledged) + len(self.reports)

    @property
    def number(self) -> int:
        """This producer's number; a transactional id may bring another."""
        return self._number

    def put(self, outgoing: Outgoing) -> None:
        if outgoing.partition < 0:
            outgoing.partition = self._partition(outgoing)
        self._queues.setdefault(outgoing.place, deque()).append(outgoing)

    def work(self) -> None:
        """Send what is due, give up what waited too long, report what was answered."""
        now = self._process.cluster.clock.now()
        while self._acknowledged and self._acknowledged[0][0] <= now:
            self.reports.append((self._acknowledged.popleft()[1], None))
        if self.fatal is not None:
            self._fail_all(KafkaError(KafkaError._FATAL, "Local: Fatal error"))
            return
        for place in sorted(self._queues):
            self._give_up(self._queues[place], now)
            self._send_due(place, now)

    def hurry(self) -> None:
        """Nothing lingers any longer."""
        for queue in self._queues.values():
            for outgoing in queue:
                outgoing.due = min(outgoing.due, self._process.cluster.clock.now())

    def purge(self) -> bool:
        """What was not acknowledged fails: an abort wants none of it.

        Whether the numbers of messages may no longer be what the log expects.
        """
        unsure = self.gap or any(each.sequence >= 0 for queue in self._queues.values() for each in queue)
        self._fail_all(KafkaError(KafkaError._PURGE_QUEUE, "Local: Purged in queue"))
        while self._acknowledged:
            self.reports.append((self._acknowledged.popleft()[1], None))
        return unsure

    def renew(self, identity: Identity) -> None:
        """A new epoch counts anew."""
        self.identity = identity
        self._sequences.clear()
        self._joined.clear()
        self.gap = False

    def begin(self) -> None:
        """A transaction begins: none of its partitions is known to the coordinator."""
        self._joined.clear()
        self.failed = None

    def raise_alarm(self, error: KafkaError) -> None:
        """The producer is of no use any more, and its owner is told at its next call."""
        if self.fatal is None:
            self.fatal = self._alarm = error

    def take_alarm(self) -> KafkaError | None:
        alarm, self._alarm = self._alarm, None
        return alarm

    def _partition(self, outgoing: Outgoing) -> int:
        count = max(self._process.cluster.partitions(outgoing.topic), 1)
        key = outgoing.record.key
        return 0 if key is None else partition_of(key, count)

    def _give_up(self, queue: deque[Outgoing], now: float) -> None:
        while queue and queue[0].given_up < now:
            outgoing = queue.popleft()
            error = KafkaError(KafkaError._MSG_TIMED_OUT, "Local: Message timed out")
            self._fail([outgoing], error, outgoing.topic)

    def _send_due(self, place: Place, now: float) -> None:
        queue = self._queues[place]
        while self.fatal is None and queue and queue[0].due <= now:
            batch = [outgoing for outgoing in list(queue)[:_AT_ONCE] if outgoing.due <= now]
            try:
                offsets = self._request(place, batch, now)
            except UnansweredError:
                queue[0].due = now + self._backoff
                return
            except RefusedError as refusal:
                for _ in batch:
                    queue.popleft()
                self._refused(batch, refusal.code, place)
                return
            latency = self._process.latency(Step.PRODUCE)
            for outgoing, offset in zip(batch, offsets, strict=True):
                queue.popleft()
                outgoing.record = replace(outgoing.record, offset=offset)
                self._acknowledged.append((now + latency, outgoing))

    def _request(self, place: Place, batch: list[Outgoing], now: float) -> list[int]:
        if (identity := self.identity) is not None and place not in self._joined:
            coordinator = self._process.cluster.transactions
            self._process.ask(Step.ADD_PARTITIONS, lambda: coordinator.add(identity, place, now))
            self._joined.add(place)
        for outgoing in batch:
            if outgoing.sequence < 0:
                outgoing.sequence = self._sequences.get(place, 0)
                self._sequences[place] = outgoing.sequence + 1
        return self._process.ask(Step.PRODUCE, lambda: self._append(place, batch))

    def _append(self, place: Place, batch: list[Outgoing]) -> list[int]:
        log = self._process.cluster.log(*place)
        for outgoing in batch:
            log.check(outgoing.record)
        return [log.append(outgoing.record, self._author(outgoing)) for outgoing in batch]

    def _author(self, outgoing: Outgoing) -> Author | None:
        if not self._idempotent:
            return None
        if self.identity is not None:
            return Author(self.identity.producer, self.identity.epoch, outgoing.sequence, transactional=True)
        return Author(self._number, 0, outgoing.sequence, transactional=False)

    def _refused(self, batch: list[Outgoing], code: int, place: Place) -> None:
        error = KafkaError(code)
        if code == KafkaError.INVALID_PRODUCER_EPOCH and self.transactional:
            reason = f"ProduceRequest for {place[0]} [{place[1]}] failed: {error.str()}"
            self.raise_alarm(KafkaError(KafkaError._FENCED, reason, fatal=True))
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            error = KafkaError(KafkaError._UNKNOWN_PARTITION, "Local: Unknown partition")
        self.gap |= code == KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
        self._fail(batch, error, place[0])

    def _fail(self, batch: list[Outgoing], error: KafkaError, topic: str) -> None:
        self.reports.extend((outgoing, error) for outgoing in batch)
        if self.transactional:
            self.failed = self.failed or error
        elif self._gapless:
            reason = f"ProduceRequest for {topic} failed: {error.str()}: unable to satisfy gap-less guarantee"
            self.raise_alarm(KafkaError(KafkaError._GAPLESS_GUARANTEE, reason, fatal=True))

    def _fail_all(self, error: KafkaError) -> None:
        for queue in self._queues.values():
            while queue:
                self.reports.append((queue.popleft(), error))
