"""The stage as its users run it: real broker, real processes, audited from outside."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

from stream.audit import Topics
from tests.stage import QUICK, await_that, check, gone, publish, read, stage


@pytest.fixture
def topics(topic: Callable[..., str]) -> Topics:
    return Topics(topic(partitions=4), topic(partitions=4), topic(partitions=2))


def test_scores_each_claim_once_with_lineage_and_order(kafka: Any, topics: Topics) -> None:
    publish(kafka.bootstrap, topics.claims, 5_000)
    with stage(kafka.bootstrap, topics, workers=2) as running:
        await_that(lambda: running.get("/readyz")[0] == 200)
        await_that(lambda: running.delivered() == 5_000)
        assert running.get("/healthz") == (200, "healthy\n")
        assert running.stop() == 0
    finding = check(kafka, topics)
    assert (finding.published, finding.scored, finding.dead_letters) == (5_000, 5_000, 0)
    assert finding.sound


def test_a_restart_goes_on_where_the_last_one_stopped(kafka: Any, topics: Topics) -> None:
    for round_ in (1, 2):
        publish(kafka.bootstrap, topics.claims, 1_000, seed=round_)
        with stage(kafka.bootstrap, topics) as running:
            await_that(lambda: running.delivered() == 1_000)
            assert running.stop() == 0
    finding = check(kafka, topics)
    assert (finding.scored, finding.duplicated, finding.lost) == (2_000, 0, 0)


def test_a_topic_whose_broker_writes_the_time_sets_deadlines_by_it(
    kafka: Any, topic: Callable[..., str]
) -> None:
    claims = topic(partitions=2, config={"message.timestamp.type": "LogAppendTime"})
    topics = Topics(claims, topic(partitions=2), topic())
    with stage(kafka.bootstrap, topics, CLAIMSTREAM_LATENCY__BUDGET_MS="20000") as running:
        await_that(lambda: running.get("/readyz")[0] == 200)
        publish(kafka.bootstrap, claims, 200, timestamp=1_000)
        await_that(lambda: running.delivered() == 200)
        assert b"claimstream_deadline_missed_total 0.0" in running.get("/metrics")[1].encode()
        assert running.stop() == 0


def test_undecodable_records_become_dead_letters_with_their_bytes(kafka: Any, topics: Topics) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topics.claims, b"\xc3\x01garbage!", key=b"k", headers=[("origin", b"test")], partition=0)
    producer.produce(topics.claims, None, key=b"gone", partition=1)
    producer.flush(10)
    publish(kafka.bootstrap, topics.claims, 200)
    form = {"CLAIMSTREAM_LOGGING__FORMAT": "json", "CLAIMSTREAM_LOGGING__LEVEL": "debug"}
    with stage(kafka.bootstrap, topics, **form) as running:
        await_that(lambda: running.delivered() == 200)
        assert running.stop() == 0
        lines = [json.loads(line) for line in running.said().splitlines()]
    # Of the supervisor and its worker, and what the handler of the signal says.
    assert len({line["process"] for line in lines}) == 2
    assert "draining; once more ends at once" in {line["message"] for line in lines}
    finding = check(kafka, topics)
    assert (finding.published, finding.scored, finding.dead_letters, finding.lost) == (202, 200, 2, 0)
    letters = {message.key(): message for message in read(kafka, topics.dead_letters)}
    headers = dict(letters[b"k"].headers())
    assert letters[b"k"].value() == b"\xc3\x01garbage!"
    assert headers["origin"] == b"test"
    assert headers["claimstream-error-class"] == b"DecodeError"
    assert (headers["claimstream-topic"], headers["claimstream-partition"]) == (topics.claims.encode(), b"0")
    assert letters[b"gone"].value() is None


def test_the_trace_header_is_carried_over(kafka: Any, topics: Topics) -> None:
    publish(kafka.bootstrap, topics.claims, 50, headers=[("traceparent", b"00-abc"), ("other", b"x")])
    with stage(kafka.bootstrap, topics) as running:
        await_that(lambda: running.delivered() == 50)
        assert running.stop() == 0
    assert [message.headers() for message in read(kafka, topics.scores)] == [
        [("traceparent", b"00-abc")]
    ] * 50


def test_keeps_key_order_when_the_output_has_other_partitions(kafka: Any, topic: Callable[..., str]) -> None:
    topics = Topics(topic(partitions=3), topic(partitions=5), topic(partitions=1))
    publish(kafka.bootstrap, topics.claims, 3_000)
    with stage(kafka.bootstrap, topics) as running:
        await_that(lambda: running.delivered() == 3_000)
        assert running.stop() == 0
    assert check(kafka, topics).sound


def test_a_killed_worker_is_replaced_and_nothing_is_lost(kafka: Any, topics: Topics) -> None:
    publish(kafka.bootstrap, topics.claims, 60_000)
    with stage(kafka.bootstrap, topics, ML_BATCH_SIZE_MAX="64", **QUICK) as running:
        await_that(lambda: running.delivered() > 0)
        os.kill(running.workers()[0], signal.SIGKILL)
        assert check(kafka, topics).lost > 0
        await_that(lambda: check(kafka, topics).lost == 0)
        await_that(lambda: running.get("/readyz")[0] == 200)
        assert running.stop() == 0
    assert check(kafka, topics).mismatched == 0


def test_a_missing_topic_is_named_with_the_command_that_creates_it(
    kafka: Any, topic: Callable[..., str]
) -> None:
    topics = Topics(topic(partitions=1), "no-such-topic", topic(partitions=1))
    with stage(kafka.bootstrap, topics) as running:
        assert running.process.wait(30) == 2
        said = running.said()
    assert "no topic 'no-such-topic'" in said
    assert f"claimstream topics create --bootstrap {kafka.bootstrap} --partitions 1 no-such-topic" in said


def test_an_unreachable_broker_is_said_within_ten_seconds_and_retried(topic: Callable[..., str]) -> None:
    with stage("127.0.0.1:1", Topics("a", "b", "c")) as running:
        assert running.process.stderr is not None
        # Its first words are of a default model that does not ship; before them the interpreter starts.
        assert b"does not ship" in next(iter(running.process.stderr))
        started = time.monotonic()
        line = next(
            line for line in running.process.stderr if b"no Kafka broker" in line or b"127.0.0.1:1" in line
        )
        assert time.monotonic() - started < 10
        assert running.process.poll() is None
        assert running.stop() == 0
    assert b"next try in" in line


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"ML_PRELOAD_MODELS": "fraud_detector_v1.0"},
            "environment ML_PRELOAD_MODELS: workers.preload_models: no model",
        ),
        ({"CLAIMSTREAM_KAFKA__CONSUMER__NO_SUCH": "1"}, 'No such configuration property: "no.such"'),
        (
            {"ML_PRELOAD_MODELS": "fraud_detector_v1.0", "CLAIMSTREAM_LOGGING__FORMAT": "json"},
            '"message": "environment ML_PRELOAD_MODELS: workers.preload_models: no model',
        ),
        ({"CLAIMSTREAM_KAFKA__GROUP": "x"}, "the nearest is CLAIMSTREAM_KAFKA__GROUP_ID"),
    ],
)
def test_what_was_set_and_cannot_hold_is_an_error(environment: dict[str, str], said: str) -> None:
    with stage("127.0.0.1:1", Topics("a", "b", "c"), **environment) as running:
        assert running.process.wait(20) == 2
        assert said in running.said()


def test_workers_drain_and_leave_when_the_supervisor_is_killed(kafka: Any, topics: Topics) -> None:
    publish(kafka.bootstrap, topics.claims, 4_000)
    with stage(kafka.bootstrap, topics, ML_BATCH_SIZE_MIN="8", ML_BATCH_SIZE_MAX="8") as running:
        await_that(lambda: running.delivered() > 0)
        worker = running.workers()[0]
        running.process.kill()
        running.process.wait(5)
        await_that(lambda: gone(worker), 30)
    with stage(kafka.bootstrap, topics) as running:
        await_that(lambda: running.get("/readyz")[0] == 200)
        await_that(lambda: check(kafka, topics).lost == 0)
        assert running.stop() == 0
    assert check(kafka, topics).sound
