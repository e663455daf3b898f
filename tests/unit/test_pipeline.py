"""The steps of a worker under one driver and a virtual clock: no threads, no sleeps, no broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError

import schemas
from models import open_model
from stream.backpressure import AHEAD, Flow, Reading
from stream.clock import SystemClock
from stream.codec import Decoder
from stream.codec.framing import SINGLE_OBJECT_HEADER, confluent_prefix
from stream.codec.learning import LearnedSchemas
from stream.errors import FatalError, RetryError, UnfinishedError
from stream.publishing import generate
from stream.scoring import Scorer
from stream.turns import Turns
from tests.scripted_stage import Record, RecordingClient, Stage


def test_every_claim_is_scored_delivered_and_committed() -> None:
    stage = Stage()
    stage.publish(300, partition=0)
    stage.publish(100, partition=1, start=50)
    stage.run()
    assert [partition for _, partition, _ in stage.producer.sent].count(0) == 300
    assert len(stage.producer.sent) == 400
    assert stage.consumer.commits[-1] in ({0: 300, 1: 150}, {0: 300}, {1: 150})
    assert stage.ledger.pending() == 0
    assert (stage.arena.in_flight, stage.arena.bytes_held) == (0, 0)


def test_keys_values_and_headers_count_as_bytes_in_flight() -> None:
    stage = Stage()
    stage.publish(2)
    records = list(stage.consumer.records)
    records[1]._answers["headers"] = [("name", b"value"), ("empty", None)]
    stage.step("loading", "intake")
    held = sum(len(each.value()) + len(each.key()) for each in records)
    assert stage.arena.bytes_held == held + len(b"namevalueempty")


def test_nothing_is_committed_before_it_is_acknowledged() -> None:
    stage = Stage()
    stage.publish(50)
    for _ in range(60):
        stage.step()
        stage.clock.advance(0.01)
    assert len(stage.producer.sent) == 50
    assert stage.consumer.commits == []
    stage.producer.acknowledge(len(stage.producer))
    stage.run(40)
    assert stage.consumer.commits == [{0: 50}]


def test_reading_stops_while_the_output_is_blocked_and_goes_on_after() -> None:
    stage = Stage(capacity=400)
    stage.producer.__class__ = type("Full", (RecordingClient,), {"__len__": lambda _: 10_000})
    stage.publish(3_000)
    for _ in range(200):
        stage.step()
        stage.clock.advance(0.01)
    assert stage.pipeline.gate.reading.flow is Flow.PAUSE
    assert stage.consumer.paused
    assert stage.arena.in_flight <= 600
    assert len(stage.consumer.records) >= 2_000
    assert stage.pipeline.batcher.conditions.pressure == 1.0
    stage.producer.__class__ = RecordingClient
    stage.run(300)
    assert len(stage.producer.sent) == 3_000
    assert not stage.consumer.paused
    assert stage.pipeline.batcher.conditions.pressure < 0.5
    sizes = [decision.claims for decision in stage.pipeline.batcher.decided.latest()]
    assert min(sizes) <= 8
    assert max(sizes) > 30


def test_claims_that_wait_to_be_scored_do_not_press_however_many() -> None:
    stage = Stage(capacity=220)
    stage.publish(200)
    stage.step("loading", "intake")
    assert stage.pipeline.lanes.queued() > 0.7 * stage.pipeline.bounds.claims
    stage.step("scoring")
    assert stage.pipeline.batcher.conditions.pressure == 0.0


def test_an_output_that_is_blocked_pauses_though_few_of_the_claims_that_may_be_are_in_flight() -> None:
    stage = Stage()
    stage.producer.__class__ = type("Full", (RecordingClient,), {"__len__": lambda _: 10_000})
    stage.publish(3_000)
    for _ in range(100):
        stage.step()
        stage.clock.advance(0.01)
    assert stage.pipeline.gate.reading == Reading(Flow.PAUSE, "output")
    assert stage.arena.in_flight < 800
    assert stage.consumer.paused
    stage.producer.__class__ = RecordingClient
    stage.run(200)
    assert len(stage.producer.sent) == 3_000
    assert not stage.consumer.paused


def test_intake_leaves_the_rest_in_the_log_while_a_full_batch_waits() -> None:
    stage = Stage()
    stage.publish(900)
    for _ in range(5):
        stage.step("intake")
        stage.clock.advance(0.01)
    assert stage.arena.in_flight == 200
    assert not stage.consumer.paused
    stage.step("scoring", "scoring", "scoring", "intake")
    assert stage.arena.in_flight == 400
    stage.run()
    assert len(stage.producer.sent) == 900


def test_a_backlog_before_a_slow_model_pauses_nothing_while_the_group_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    stage.publish(900)
    poll, polls = stage.consumer.poll, list[float]()
    monkeypatch.setattr(
        stage.consumer, "poll", lambda seconds: polls.append(stage.clock.now()) or poll(seconds)
    )
    for _ in range(200):
        stage.step("intake")
        stage.clock.advance(0.01)
    assert stage.count("reading_paused_total") == 0
    assert np.diff(polls).max() < 0.35
    # One record each time.
    assert stage.arena.in_flight == 200 + len(polls) - 1
    assert stage.pipeline.batching(stage.clock.now()).held_by == AHEAD
    stage.run()
    assert len(stage.producer.sent) == 900


class Unreachable:
    """A decoder whose registry does not answer at first."""

    def __init__(self, inner: Decoder, failures: int, error: type[RetryError] = RetryError) -> None:
        self._inner = inner
        self._failures = failures
        self._error = error

    def learn(self, values: Sequence[bytes | None]) -> None:
        self._failures -= 1
        if self._failures >= 0:
            raise self._error("the schema registry cannot be reached")
        self._inner.learn(values)

    def decode(self, values: Sequence[bytes | None]) -> Any:
        return self._inner.decode(values)


def test_claims_wait_while_the_registry_is_away() -> None:
    stage = Stage()
    stage.pipeline.admission._decoder = Unreachable(Decoder(schemas.load("claim_event")), failures=3)
    stage.publish(300)
    stage.run(50)
    assert stage.producer.sent == []
    assert stage.consumer.commits == []
    assert stage.pipeline.gate.reading.flow is Flow.PAUSE
    stage.run(650)
    assert stage.producer.sent == []
    stage.run(200)
    assert len(stage.producer.sent) == 300
    assert stage.pipeline.backoff.failures == 0
    assert stage.count("retries_total", "RetryError") == 3
    assert stage.consumer.commits[-1] == {0: 300}


def test_claims_for_which_more_is_asked_for_at_once_are_admitted_within_their_budget() -> None:
    stage = Stage()
    decoder = Decoder(schemas.load("claim_event"))
    stage.pipeline.admission._decoder = Unreachable(decoder, 2, UnfinishedError)
    stage.publish(30)
    stage.run(15)
    assert len(stage.producer.sent) == 30


def test_who_waits_for_a_schema_is_tried_in_each_step_of_intake_that_is_due() -> None:
    stage = Stage()
    decoder = Decoder(schemas.load("claim_event"))
    stage.pipeline.admission._decoder = Unreachable(decoder, 2, UnfinishedError)
    stage.publish(30)
    for _ in range(3):
        assert stage.pipeline.intake(stage.clock.now()) == stage.clock.now()
    assert stage.pipeline.lanes.queued() == 30
    stage.pipeline.admission._decoder = Unreachable(decoder, 1)
    stage.publish(30, start=30)
    assert stage.pipeline.intake(stage.clock.now()) == stage.clock.now()
    # Nothing is tried before its time.
    assert stage.pipeline.intake(stage.clock.now()) == stage.clock.now() + stage.pipeline.rhythm.hold


class Registry:
    """A schema source that notes whether output could take its turn while it was asked."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.turn_free: list[bool] = []

    def schema(self, schema_id: int) -> dict[str, Any]:
        self.turn_free.append(not self._turns._lock.locked())
        return schemas.load("claim_event")


def test_output_goes_on_while_the_registry_is_asked() -> None:
    stage = Stage()
    registry = Registry(stage.pipeline.turns)
    stage.pipeline.admission._decoder = Decoder(
        schemas.load("claim_event"), registry=LearnedSchemas(registry, SystemClock(), patience=20.0)
    )
    stage.publish(5)
    for record in stage.consumer.records:
        record._answers["value"] = confluent_prefix(7) + record.value()[SINGLE_OBJECT_HEADER:]
    stage.run()
    assert registry.turn_free == [True]
    assert len(stage.producer.sent) == 5


def test_a_pause_that_ends_before_the_next_poll_does_not_reach_partitions_assigned_in_it() -> None:
    stage = Stage(capacity=400)
    stage.pipeline.consumer.pause()
    stage.lose(0, 1)
    stage.assign(0, 1)
    stage.pipeline.consumer.resume()
    stage.publish(10)
    stage.run(20)
    assert len(stage.producer.sent) == 10
    assert not stage.consumer.paused


def test_partitions_assigned_during_a_pause_are_paused_too() -> None:
    stage = Stage()
    stage.pipeline.closing = True
    for _ in range(50):
        stage.step("intake")
        stage.clock.advance(0.01)
    stage.consumer.paused = False
    stage.assign(5)
    stage.step("intake")
    assert stage.consumer.paused


def test_partitions_that_came_during_a_pause_are_read_once_it_is_over() -> None:
    stage = Stage()
    stage.pipeline.consumer.pause()
    stage.assign(5)
    stage.pipeline.consumer.resume()
    stage.step("intake")
    assert not stage.consumer.paused


def test_a_partition_with_a_backlog_gives_way_to_the_others() -> None:
    stage = Stage(capacity=800)
    ends = {0: 10_000, 1: 10}
    stage.consumer.get_watermark_offsets = lambda place, **_: (0, ends[place.partition])  # type: ignore[method-assign]
    stage.publish(10, partition=1)
    stage.publish(150)
    stage.step("intake")
    stage.publish(500, start=150)
    stage.clock.advance(stage.pipeline.rhythm.fair)
    stage.step("intake")
    assert stage.pipeline.fairness.behind == {0}
    stage.step("intake")
    assert stage.consumer.stopped == {0}
    stage.publish(10, partition=1, start=10)
    stage.step("intake")
    assert stage.ledger.pending([1]) == 20
    ends[0] = 650
    stage.run()
    assert len(stage.producer.sent) == 670
    assert not stage.consumer.paused


def test_poison_costs_only_itself_and_few_forwards() -> None:
    claims = next(iter(generate(128, 3)))
    charges = open_model("null").features.encode(claims)["totals"][:, 0]
    poison = [float(charges[5]), float(charges[77])]
    culprits = int(np.isin(charges, np.array(poison, np.float32)).sum())
    stage = Stage(poison=poison)
    stage.publish(128)
    stage.run()
    topics = [topic for topic, _, _ in stage.producer.sent]
    assert (topics.count("scores"), topics.count("dead")) == (128 - culprits, culprits)
    assert stage.count("dead_letters_total", "ScoringError") == culprits
    assert stage.model.forwards <= 2 + 2 * culprits * 7
    assert stage.consumer.commits[-1] == {0: 128}
    assert stage.arena.in_flight == 0


@pytest.mark.parametrize(("timestamp", "late"), [(None, 0), (-1, 0), (10_000_000, 0), (-200, 50), (-500, 50)])
def test_deadlines_come_from_the_records_own_timestamp(timestamp: int | None, late: int) -> None:
    stage = Stage()
    stage.publish(50)
    for record in stage.consumer.records:
        if timestamp is not None:
            record._timestamp = timestamp if timestamp == -1 else record._timestamp + timestamp
    stage.step("intake")
    remaining = stage.arena.deadline[stage.arena.key != None] - stage.clock.now()  # noqa: E711 - element by element
    assert ((remaining <= 0).sum(), (remaining > 0.2 + 1e-6).sum()) == (late, 0)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KafkaError(KafkaError.FENCED_INSTANCE_ID), r"kafka\.instance"),
        (KafkaError(KafkaError.UNRELEASED_INSTANCE_ID), r"kafka\.instance"),
        (KafkaError(KafkaError._FATAL, "fenced, with same group.instance.id"), r"kafka\.instance"),
        (KafkaError(KafkaError._FATAL, "something else"), "cannot go on: something else"),
    ],
)
def test_a_consumer_that_cannot_go_on_ends_the_worker(error: KafkaError, said: str) -> None:
    record = Record(0, 0, None, b"", 0)
    record._answers["error"] = error
    stage = Stage()
    stage.consumer.records.append(record)
    with pytest.raises(FatalError, match=said):
        stage.step("intake")


def test_what_a_step_had_no_time_for_of_a_batch_that_fails_goes_on_and_its_dead_letters_go_ahead() -> None:
    stage = Stage()
    stage.pipeline.scorer = Scorer(stage.arena, stage.clock, patience=0.3)

    def failing(_: object) -> None:
        stage.clock.advance(0.01)
        raise RuntimeError("cannot take any")

    stage.model.score = failing  # type: ignore[method-assign, assignment]
    stage.publish(64)
    stage.step("intake", "scoring", "output")
    assert 0 < len(stage.producer.sent) < 64
    assert stage.arena.in_flight == 64 - len(stage.producer.sent)
    stage.run()
    assert len(stage.producer.sent) == stage.count("dead_letters_total", "ScoringError") == 64
    assert stage.consumer.standing[0].offset == 64
    assert (stage.arena.in_flight, stage.ledger.pending()) == (0, 0)
