"""One result a claim on a real broker, whatever is killed: by transactions, or by what commits carry along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from stream.audit import Topics
from tests.stage import QUICK, await_that, check, names, publish, read, stage

EXACTLY_ONCE = {"CLAIMSTREAM_KAFKA__DELIVERY": "exactly_once", "CLAIMSTREAM_KAFKA__INSTANCE": "here"}


@pytest.fixture
def topics(topic: Callable[..., str]) -> Topics:
    return Topics(topic(partitions=4), topic(partitions=4), topic(partitions=2))


def test_results_dead_letters_and_offsets_are_one(kafka: Any, topics: Topics) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topics.claims, b"\xc3\x01garbage!", key=b"k", partition=0)
    producer.flush(10)
    publish(kafka.bootstrap, topics.claims, 2_000)
    with stage(kafka.bootstrap, topics, **EXACTLY_ONCE) as running:
        await_that(lambda: running.delivered() == 2_000)
        publish(kafka.bootstrap, topics.claims, 2_000, seed=6)
        await_that(lambda: running.delivered() == 4_000)
        assert running.stop() == 0
    finding = check(kafka, topics)
    assert (finding.scored, finding.dead_letters, finding.sound) == (4_000, 1, True)
    # The marks of transactions take offsets, too.
    offsets = [message.offset() for message in read(kafka, topics.scores) if message.partition() == 0]
    assert max(offsets) >= len(offsets)


def test_a_killed_worker_leaves_no_duplicate(kafka: Any, topics: Topics) -> None:
    publish(kafka.bootstrap, topics.claims, 60_000)
    with stage(kafka.bootstrap, topics, ML_BATCH_SIZE_MAX="64", **EXACTLY_ONCE, **QUICK) as running:
        await_that(lambda: running.delivered() > 0)
        os.kill(running.workers()[0], signal.SIGKILL)
        assert check(kafka, topics).lost > 0
        await_that(lambda: check(kafka, topics).lost == 0)
        await_that(lambda: running.get("/readyz")[0] == 200)
        assert running.stop() == 0
    finding = check(kafka, topics)
    assert (finding.scored, finding.sound) == (60_000, True)


@pytest.mark.slow
def test_a_model_that_takes_its_time_causes_no_duplicates_of_others(
    kafka: Any, topic: Callable[..., str]
) -> None:
    topics = Topics(topic(partitions=1), topic(partitions=1), topic(partitions=1))
    routes = {"CLAIMSTREAM_ROUTES": '{"institutional": ["claims_filter_v2.1"], "*": ["null"]}'}
    more = {
        "ML_BATCH_SIZE_MAX": "64",
        **names(topics),
        **routes,
        **QUICK,
        "CLAIMSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
    }
    publish(kafka.bootstrap, topics.claims, 3_000)
    group = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": more["CLAIMSTREAM_KAFKA__GROUP_ID"]})

    def committed() -> Any:
        try:
            return group.committed([TopicPartition(topics.claims, 0)], 5.0)[0]
        except KafkaException:
            return TopicPartition(topics.claims, 0)

    slow = subprocess.Popen([sys.executable, "-m", "tests.slow_worker"], env={**os.environ, **more})
    try:
        await_that(lambda: committed().metadata not in {None, ""})
        before = ""
        while (left := committed()).metadata != before:
            before = left.metadata
            time.sleep(0.5)
    finally:
        slow.kill()
        slow.wait(10)
        group.close()
    delivered = len(read(kafka, topics.scores))
    assert left.offset < delivered < 3_000
    with stage(kafka.bootstrap, topics, **routes, **QUICK) as running:
        await_that(lambda: running.delivered() == 3_000 - delivered)
        assert running.stop() == 0
    finding = check(kafka, topics)
    assert (finding.scored, finding.sound) == (3_000, True)
