"""A worker that commits transactions, around a scripted client, under one driver and a virtual clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from stream.committed import read_committed
from stream.consumer import ClaimConsumer
from stream.producer import Sender
from stream.transaction_policy import CommitTimes, TransactionLimits
from stream.transactions import TransactionalProducer
from stream.watchdog import Watchdog
from tests.scripted_stage import Stage

LIMITS = TransactionLimits(age=0.02, messages=500, bytes=10_000_000, leisure=0.1, failures=3)


def fatal() -> KafkaError:
    return KafkaError(KafkaError._FENCED, "fenced", True)


def abortable() -> KafkaError:
    return KafkaError(KafkaError.ILLEGAL_GENERATION, "abort", False, False, True)


def retriable() -> KafkaError:
    return KafkaError(KafkaError._TIMED_OUT, "again", False, True)


class Log:
    """What is committed, and which calls fail: (name of the call, error, whether it took effect all the same)."""

    def __init__(self, standing: dict[int, TopicPartition]) -> None:
        self.standing = standing
        self.committed: list[tuple[str, int, bytes]] = []
        self.failing: deque[tuple[str, KafkaError, bool]] = deque()
        self.transactions: list[int] = []
        self.clients: list[Client] = []
        self.during: dict[str, Callable[[], None]] = {}

    def client(self) -> Client:
        self.clients.append(Client(self))
        return self.clients[-1]


class Client:
    """One producer. Producing outside a transaction is an error, as it is during a commit."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.ready = False
        self.messages: list[tuple[str, int, bytes]] | None = None
        self.offsets: list[TopicPartition] = []

    def __len__(self) -> int:
        return len(self.messages or ())

    def init_transactions(self, _: float) -> None:
        self._call("init_transactions", lambda: setattr(self, "ready", True))

    def begin_transaction(self) -> None:
        assert self.ready
        assert self.messages is None
        self.messages, self.offsets = [], []

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], partition: int) -> int:
        for message in messages:
            self.produce(topic, value=message["value"], partition=partition)
        return len(messages)

    def produce(self, topic: str, *, value: bytes, partition: int, **_: Any) -> None:
        if self.messages is None:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self._call("produce", lambda: self.messages.append((topic, partition, value)))  # type: ignore[union-attr]

    def send_offsets_to_transaction(
        self, offsets: Sequence[TopicPartition], metadata: object, _: float
    ) -> None:
        assert metadata == "generation 1"
        self._call("send_offsets", lambda: setattr(self, "offsets", list(offsets)))

    def commit_transaction(self, _: float) -> None:
        self._call("commit", self._commit)

    def abort_transaction(self, _: float) -> None:
        self._call("abort", lambda: setattr(self, "messages", None))

    def poll(self, _: float) -> int:
        return 0

    def purge(self) -> None:
        self.messages = None

    def _commit(self) -> None:
        assert self.messages is not None
        self.log.committed += self.messages
        self.log.transactions.append(len(self.messages))
        self.log.standing.update({each.partition: each for each in self.offsets})
        self.messages = None

    def _call(self, name: str, effect: Callable[[], None]) -> None:
        if (during := self.log.during.pop(name, None)) is not None:
            during()
        if self.log.failing and self.log.failing[0][0] == name:
            _, error, applied = self.log.failing.popleft()
            if applied:
                effect()
            raise KafkaException(error)
        effect()


class TransactionalStage(Stage):
    """The same worker, which commits transactions."""

    commits = False
    budget = 0.2

    def sender(self, member: ClaimConsumer) -> Sender:
        self.log = Log(self.consumer.standing)
        self.ended: list[str] = []
        self.consumer.close = lambda: None  # type: ignore[attr-defined]
        self.consumer.consumer_group_metadata = lambda: "generation 1"  # type: ignore[attr-defined]
        self.consumer.memberid = lambda: "member 1"  # type: ignore[attr-defined]
        self.watchdog = Watchdog(self.clock, self.ended.append)
        sender = TransactionalProducer(
            self.log.client,
            member,
            self.identity,
            partial(read_committed, lambda: self.consumer, "claims"),
            self.ledger,
            LIMITS,
            CommitTimes(self.budget),
            self.watchdog,
            self.clock,
            self.metrics,
        )
        sender.open()
        return sender

    def step(self, *names: str) -> None:
        super().step(*names or ("loading", "intake", "scoring", "slow_scoring", "output", "transactions"))

    def drain(self, partitions: Sequence[int]) -> None:
        self.drained.append(list(partitions))
        self.pipeline.drain(partitions)
        for _ in range(100):
            if not self.ledger.pending(partitions):
                break
            self.step("scoring", "output", "transactions")
            self.clock.advance(0.01)
        self.pipeline.drained()

    @property
    def scores(self) -> list[bytes]:
        return [value for topic, _, value in self.log.committed if topic == "scores"]
