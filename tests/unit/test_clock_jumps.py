"""The wall clock jumps, as NTP makes it do: nothing waits for it, nothing is lost, and what is late says so."""

from __future__ import annotations

import pytest

import schemas
from stream.codec import Decoder
from tests.scripted_stage import Stage

HOUR = 3_600.0


@pytest.mark.parametrize(("jump", "late"), [(-HOUR, 0), (HOUR, 50)])
def test_claims_are_scored_whatever_the_wall_clock_says(jump: float, late: int) -> None:
    stage = Stage()
    stage.publish(50)
    stage.run(2)
    stage.publish(50, start=50)
    stage.clock.step_wall(jump)
    stage.run()
    assert len(stage.producer.sent) == 100
    assert stage.count("deadline_missed_total") == late
    assert stage.consumer.commits[-1] == {0: 100}
    stage.clock.step_wall(-jump)
    stage.publish(50, start=100)
    stage.run()
    assert len(stage.producer.sent) == 150
    assert stage.count("deadline_missed_total") == late


def test_a_clock_that_jumps_while_claims_wait_changes_no_deadline() -> None:
    stage = Stage()
    stage.publish(50)
    stage.step("intake")
    before = stage.arena.deadline.copy()
    for jump in (HOUR, -2 * HOUR):
        stage.clock.step_wall(jump)
        stage.step("intake")
    assert (stage.arena.deadline == before).all()
    stage.run()
    assert (len(stage.producer.sent), stage.count("deadline_missed_total")) == (50, 0)


@pytest.mark.parametrize("written", [0, -1, 4_000_000_000_000])
def test_a_record_without_a_timestamp_or_from_the_future_counts_as_written_now(written: int) -> None:
    stage = Stage()
    stage.publish(50)
    for record in stage.consumer.records:
        record._timestamp = written
    stage.run()
    latency = stage.metrics.snapshot().histograms["stage_latency_seconds", ()]
    assert (latency.counts.sum(), latency.total) == (50, 0.0)
    assert stage.count("deadline_missed_total") == 0
    scores = (
        Decoder(schemas.load("claim_score")).decode([value for _, _, value in stage.producer.sent]).claims
    )
    assert set(scores.column("queue_ms").to_pylist()) == {0.0}
    assert set(scores.column("deadline_missed").to_pylist()) == {False}
    assert scores.column("input_timestamp").cast("int64").to_pylist() == [written] * 50


@pytest.mark.parametrize(("written", "counted"), [(0, 0), (-1, 0), (4_000_000_000_000, 50)])
def test_the_age_at_reading_is_never_negative_and_none_is_told_of_a_record_without_a_timestamp(
    written: int, counted: int
) -> None:
    stage = Stage()
    stage.publish(100)
    for record in list(stage.consumer.records)[:50]:
        record._timestamp = written
    stage.clock.advance(0.03)
    stage.step("intake")
    read = stage.metrics.snapshot().histograms["claim_age_at_read_seconds", ()]
    assert (read.counts.sum(), read.total) == (50 + counted, pytest.approx(50 * 0.03, abs=1e-3))
