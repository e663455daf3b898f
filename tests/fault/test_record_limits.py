"""Records that are too large for a topic stall nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

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
