"""Exactly once on a real broker: one result a claim for whoever reads committed records."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

from stream.audit import Topics
from tests.stage import QUICK, await_that, check, publish, read, stage

EXACTLY_ONCE = {"CLAIMSTREAM_KAFKA__DELIVERY": "exactly_once", "CLAIMSTREAM_KAFKA__INSTANCE": "here"}


@pytest.fixture
def topics(topic: Callable[..., str]) -> Topics:
    return Topics(topic(partitions=4), topic(partitions=4), topic(partitions=2))


def test_results_dead_letters_and_offsets_are_one(kafka: Any, topics: Topics) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topics.claims, b"\xc3\x01garbage!", key=b"k", partition=0)
    producer.flush(10)
    for round_ in (1, 2):
        publish(kafka.bootstrap, topics.claims, 2_000, seed=round_)
        with stage(kafka.bootstrap, topics, workers=2, **EXACTLY_ONCE) as running:
            await_that(lambda: running.delivered() == 2_000)
            _, metrics = running.get("/metrics")
            assert running.stop() == 0
    finding = check(kafka, topics)
    assert (finding.scored, finding.dead_letters, finding.sound) == (4_000, 1, True)
    assert 'claimstream_transactions_total{result="committed"}' in metrics
    # Markers of transactions take offsets too, so the ends of the topic tell that there were some.
    assert max(message.offset() for message in read(kafka, topics.scores)) > 4_000 / 4


def test_a_killed_worker_leaves_no_duplicate(kafka: Any, topics: Topics) -> None:
    publish(kafka.bootstrap, topics.claims, 20_000)
    with stage(kafka.bootstrap, topics, ML_BATCH_SIZE_MAX="64", **EXACTLY_ONCE, **QUICK) as running:
        await_that(lambda: running.delivered() > 0)
        os.kill(running.workers()[0], signal.SIGKILL)
        await_that(lambda: check(kafka, topics).lost == 0)
        assert running.stop() == 0
    finding = check(kafka, topics)
    assert (finding.scored, finding.sound) == (20_000, True)
