"""Publishing against librdkafka's own mock cluster, on a clock of one's own where time matters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from stream.clock import ManualClock, SystemClock
from stream.publishing import DeliveryError, Publisher, generate, pacer, parse_pattern, publish_all, repeated


class Plain:
    """Values are the claim ids."""

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        return [str(value).encode() for value in batch.column("claim_id").to_pylist()]

    def framed(self, written: object) -> list[bytes]:
        raise AssertionError("nothing here is encoded already")


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    cluster = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    broker = cluster.list_topics(timeout=10).brokers[1]
    yield f"{broker.host}:{broker.port}"
    del cluster


def read(bootstrap: str, topic: str, count: int) -> list[list[bytes]]:
    """Values by partition, in the order of the log."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "check", "log_level": 0})
    numbers = sorted(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
    values: list[list[bytes]] = [[] for _ in numbers]
    while sum(map(len, values)) < count and (messages := consumer.consume(count, 2.0)):
        for message in messages:
            values[message.partition()].append(message.value())
    consumer.close()
    return values


class Slow(Publisher):
    """Its waits take no time but the clock's."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__({"bootstrap.servers": "127.0.0.1:1"}, "claims", Plain(), clock=clock)
        self._manual = clock
        self.sent: list[float] = []

    def wait(self, seconds: float) -> None:
        self._manual.advance(seconds)

    def send(self, records: list[dict[str, object]], _claims: pa.RecordBatch | None = None) -> None:
        self.sent += [self._manual.now()] * len(records)


def test_every_claim_is_acknowledged_although_the_queue_is_small(bootstrap: str) -> None:
    publisher = Publisher(
        {"bootstrap.servers": bootstrap, "queue.buffering.max.messages": 500}, "small", Plain()
    )
    sent = sum(publish_all(publisher, generate(5_000, 1), clock=SystemClock()))
    publisher.flush()
    assert (sent, publisher.given, publisher.acknowledged) == (5_000, 5_000, 5_000)
    expected = [value for batch in generate(5_000, 1) for value in Plain().encode(batch)]
    arrived = read(bootstrap, "small", 5_000)
    assert sorted(value for values in arrived for value in values) == expected
    for values in arrived:
        assert values == sorted(values)


def test_a_claim_that_the_client_refuses_is_counted(bootstrap: str) -> None:
    publisher = Publisher({"bootstrap.servers": bootstrap, "message.max.bytes": 1_000}, "claims", Plain())
    (batch,) = generate(3, 1)
    records = publisher.prepare(batch)
    records[1]["value"] = b"x" * 5_000
    publisher.send(records, batch)
    assert not publisher.failing
    with pytest.raises(
        DeliveryError, match=r"1 of 3 claims were not .* All before claim 2, G1-00000001, were"
    ):
        publisher.flush()
    assert (publisher.acknowledged, publisher.given) == (2, 3)


def test_claims_that_found_no_room_before_the_keyboard_stopped_them_were_not_given(bootstrap: str) -> None:
    class Stopped:
        """A client whose queue takes one claim more, before somebody presses Ctrl-C."""

        def __init__(self, client: Any) -> None:
            self._client = client
            self._polls = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def __len__(self) -> int:
            return len(self._client)

        def poll(self, seconds: float) -> None:
            self._polls += 1
            if self._polls == 2:
                raise KeyboardInterrupt
            self._client.poll(seconds)

    options = {"bootstrap.servers": bootstrap, "queue.buffering.max.messages": 1, "linger.ms": 50}
    publisher = Publisher(options, "stopped", Plain())
    publisher._producer = Stopped(publisher._producer)
    with pytest.raises(KeyboardInterrupt):
        publisher.publish(next(generate(10, 1)))
    publisher.flush()
    assert publisher.given == publisher.acknowledged == 1


def test_claims_that_no_broker_takes_are_counted_as_failed() -> None:
    config = {"bootstrap.servers": "127.0.0.1:1", "message.timeout.ms": 300, "log_level": 0}
    publisher = Publisher(config, "claims", Plain())
    publisher.publish(next(generate(10, 1)))
    with pytest.raises(DeliveryError, match="10 of 10"):
        publisher.flush()
    assert publisher.acknowledged == 0


class Leaving:
    """A client whose broker goes away: what it took behind `delivered` claims fails, last first, at `taken` claims."""

    def __init__(self, delivered: int, taken: int) -> None:
        self.keys: list[bytes] = []
        self._delivered = delivered
        self._taken = taken
        self._waiting: list[tuple[Callable[..., None], bytes]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def produce_batch(
        self, _topic: str, records: list[dict[str, Any]], on_delivery: Callable[..., None]
    ) -> int:
        for record in records:
            self.keys.append(record["key"])
            if len(self.keys) > self._delivered:
                self._waiting.append((on_delivery, record["key"]))
        return len(records)

    def poll(self, _seconds: float) -> None:
        if len(self.keys) >= self._taken:
            self.flush()

    def flush(self, _seconds: float = 0.0) -> int:
        while self._waiting:
            report, key = self._waiting.pop()
            report(KafkaError(KafkaError._MSG_TIMED_OUT), SimpleNamespace(key=lambda key=key: key))
        return 0


@pytest.mark.parametrize("field", ["claim_id", "member_id"])
def test_nothing_is_sent_behind_claims_that_failed_and_the_first_is_named(field: str) -> None:
    publisher = Publisher({"bootstrap.servers": "127.0.0.1:1"}, "claims", Plain(), key_field=field)
    client = publisher._producer = Leaving(delivered=4_100, taken=10_000)
    with pytest.raises(DeliveryError, match="5900 of 10000 claims were not delivered to claims: ") as raised:
        sum(publish_all(publisher, generate(40_000, 1), clock=SystemClock()))
    assert len(client.keys) == 10_000
    assert publisher.acknowledged == 4_100
    named = re.search(r"All before claim (\d+), G1-(\d+), were", str(raised.value))
    assert named is not None
    assert int(named[1]) == int(named[2]) + 1
    # By a member's key it may be an earlier claim of that member.
    assert int(named[1]) == 4_101 if field == "claim_id" else 4_000 < int(named[1]) <= 4_101


def test_the_key_is_the_members_or_the_claims_id() -> None:
    (batch,) = generate(2, 1)
    for field in ("member_id", "claim_id"):
        publisher = Publisher({"bootstrap.servers": "127.0.0.1:1"}, "claims", Plain(), key_field=field)
        keys = [record["key"] for record in publisher.prepare(batch)]
        assert keys == [str(value).encode() for value in batch.column(field).to_pylist()]


def test_claims_leave_at_the_pacers_times_and_never_before() -> None:
    clock = ManualClock(now=0.0)
    publisher = Slow(clock)
    even = pacer(100.0, parse_pattern("even"), 0)
    assert sum(publish_all(publisher, generate(300, 1), clock=clock, pacer=even)) == 300
    for number, moment in enumerate(publisher.sent):
        assert number / 100 - 1e-9 <= moment <= number / 100 + 0.002


def test_repeated_passes_keep_ids_distinct() -> None:
    batches = list(repeated(lambda: generate(3, 1), 3))
    ids = [value for batch in batches for value in batch.column("claim_id").to_pylist()]
    assert len(set(ids)) == 9
    assert ids[0] == "G1-00000000"
    assert ids[-1] == "G1-00000002~3"
    assert batches[1].schema.equals(batches[0].schema)
