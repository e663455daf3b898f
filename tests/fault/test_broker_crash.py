"""The only broker is killed and comes back: transactions that were open must end in every partition.

Kafka 4.3 and 4.4 do not write their markers to partitions without a leader (KAFKA-20734). What such a transaction
wrote then hangs: readers wait for it, and a later transaction of the same producer makes it valid.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from stream.embedded import EmbeddedKafka
from stream.topics import TopicSpec, ensure_topics
from tests.stage import await_that

pytestmark = pytest.mark.slow

# The transaction is over before the broker, back again, is let into its cluster.
OVER_AT_ONCE = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "200"}


@pytest.fixture
def broker() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(overrides=OVER_AT_ONCE) as started:
        yield started


def reader(broker: EmbeddedKafka) -> Consumer:
    options = {"bootstrap.servers": broker.bootstrap, "group.id": "group", "auto.offset.reset": "earliest"}
    return Consumer({**options, "log_level": 0})


def leave_open(broker: EmbeddedKafka, claims: str, scores: str) -> None:
    """Begin a transaction of a result and an offset, and never end it."""
    options = {
        "bootstrap.servers": broker.bootstrap,
        "transactional.id": "one",
        "transaction.timeout.ms": 1000,
    }
    producer = Producer({**options, "log_level": 0})
    producer.init_transactions(10.0)
    producer.begin_transaction()
    producer.produce(scores, b"not committed")
    group = reader(broker)
    producer.send_offsets_to_transaction(
        [TopicPartition(claims, 0, 1)], group.consumer_group_metadata(), 10.0
    )
    group.close()
    assert producer.flush(10.0) == 0


def test_a_transaction_that_a_crash_left_open_ends_in_every_partition(broker: EmbeddedKafka) -> None:
    ensure_topics(
        {"bootstrap.servers": broker.bootstrap}, [TopicSpec("claims", 1, 1), TopicSpec("scores", 1, 1)]
    )
    leave_open(broker, "claims", "scores")
    broker.kill()
    broker.restart()
    later = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    later.produce("scores", b"after it")
    assert later.flush(20.0) == 0

    group = reader(broker)
    group.assign([TopicPartition("scores", 0, 0)])
    assert first_value(group) == b"after it"
    await_that(lambda: is_decided(group), 20)
    group.close()


def first_value(consumer: Consumer) -> bytes | None:
    record = consumer.poll(20.0)
    return None if record is None else record.value()


def is_decided(consumer: Consumer) -> bool:
    """Whether the group's offsets can be read: they cannot while a transaction that covers them is open."""
    try:
        answer = consumer.committed([TopicPartition("claims", 0)], 1.0)[0]
    except KafkaException:
        return False
    return answer.error is None and answer.offset < 0
