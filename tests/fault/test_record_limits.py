"""Records that are too large for a topic stall nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from stream import letters
from stream.audit import Topics
from tests.stage import await_that, check, publish, read, stage

pytestmark = pytest.mark.slow


def test_what_its_topic_refuses_stalls_nothing(kafka: Any, topic: Callable[..., str]) -> None:
    small, larger = ({"max.message.bytes": size} for size in ("20000", "25000"))
    topics = Topics(topic(), topic(config=small), topic(config=larger))
    publish(kafka.bootstrap, topics.claims, 150)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    (claim, *_) = [message.value() for message in read(kafka, topics.claims)]
    producer.produce(topics.claims, claim, key=b"k" * 19_400, partition=0)
    producer.produce(topics.claims, b"no claim" * 10_000, key=b"large", partition=0)
    producer.produce(topics.claims, b"no claim" * 10_000, key=b"k" * 30_000, partition=0)
    assert producer.flush(10) == 0
    publish(kafka.bootstrap, topics.claims, 150, seed=6)
    with stage(kafka.bootstrap, topics) as running:
        await_that(lambda: running.delivered() == 300)
        await_that(lambda: check(kafka, topics).dead_letters == 3)
        assert running.stop() == 0
        assert "takes records of 25000 bytes: dead letters that are larger" in running.said()
    finding = check(kafka, topics)
    assert (finding.scored, finding.sound) == (300, True)
    found = {
        reason.offset: (reason.error_class, reason.omitted, len(message.key() or b""), message.value())
        for message in read(kafka, topics.dead_letters)
        for _, reason in [letters.read(message.headers()) or pytest.fail("no letter")]
    }
    assert found == {
        150: ("OversizeError", "", 19_400, claim),
        151: ("DecodeError", "value", 5, None),
        152: ("DecodeError", "key,value,headers", 0, None),
    }


def test_a_limit_that_was_lowered_under_a_running_stage_ends_its_worker_once(
    kafka: Any, topic: Callable[..., str]
) -> None:
    topics = Topics(topic(), topic(), topic())
    publish(kafka.bootstrap, topics.claims, 150)
    (claim, *_) = [message.value() for message in read(kafka, topics.claims)]
    with stage(kafka.bootstrap, topics) as running:
        await_that(lambda: running.delivered() == 150)
        lower(kafka.bootstrap, topics.scores, 20_000)
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        # Batches are compressed, and this is none shorter then.
        producer.produce(topics.claims, claim, key=random.Random(1).randbytes(25_000), partition=0)
        assert producer.flush(10) == 0
        publish(kafka.bootstrap, topics.claims, 150, seed=6)
        await_that(lambda: check(kafka, topics).dead_letters == 1, 40)
        await_that(lambda: check(kafka, topics).scored == 300, 20)
        assert running.stop() == 0
        said = running.said()
    assert said.count("1 times in a row; it starts again in") == 1
    assert "2 times in a row" not in said
    assert "the topics changed: they were" in said
    assert check(kafka, topics).sound


def lower(bootstrap: str, name: str, size: int) -> None:
    """Have a topic take smaller records from now on."""
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(10.0)
