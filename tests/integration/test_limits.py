"""Nothing but dead letters: the stage stops before its topic is empty."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Producer

from stream.audit import Topics
from tests.stage import read, stage


def test_nothing_but_dead_letters_stops_the_stage_and_says_why(kafka: Any, topic: Callable[..., str]) -> None:
    topics = Topics(topic(), topic(), topic())
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(5_000):
        producer.produce(topics.claims, b"no claim %d" % number, partition=0)
    assert producer.flush(10) == 0
    started = time.monotonic()
    with stage(kafka.bootstrap, topics) as running:
        assert running.process.wait(60) == 3
        said = running.said()
    assert time.monotonic() - started < 40
    assert "records are dead letters (DecodeError" in said
    assert "the stage stops: StopError" in said
    assert "Traceback" not in said
    assert len(read(kafka, topics.dead_letters)) <= 1_000
