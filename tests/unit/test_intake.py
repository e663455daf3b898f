"""What intake takes in and what it leaves: held partitions, revokes, and what is counted."""

from __future__ import annotations

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from stream.errors import StopError
from stream.held import Held
from stream.offset_metadata import MOST_OFFSETS
from stream.read_positions import ReadPositions
from tests.scripted_stage import Record, Stage, told_to_end_while_it_polls

MANY = range(8)


def not_known_yet(stage: Stage) -> None:
    """Eight partitions of 200 records each, and the group's coordinator does not answer."""
    stage.consumer.silent = True
    stage.assign(*MANY)
    for partition in MANY:
        stage.publish(200, partition)


def with_all_held(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """As if all partitions had been assigned within the polls that brought their records."""
    stage = Stage(capacity=1_000)
    not_known_yet(stage)
    monkeypatch.setattr(stage.consumer, "pause", lambda _: None)
    for _ in MANY:
        stage.step("intake")
    return stage


def test_what_was_held_of_many_partitions_is_let_go_in_portions_that_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = with_all_held(monkeypatch)
    assert (len(stage.consumer.records), stage.arena.in_flight) == (0, 0)
    stage.consumer.silent = False
    stage.run(120)
    assert len(stage.producer.sent) == 200 * len(MANY)
    assert all(stage.consumer.standing[partition].offset == 200 for partition in MANY)


def test_a_partition_is_not_read_while_it_is_not_known_what_was_completed_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    not_known_yet(stage)
    stage.run(400)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1
    assert "their offsets cannot be learned" in warned[0]
    assert stage.consumer.stopped == set(MANY)
    assert len(stage.consumer.records) == 200 * len(MANY)
    stage.consumer.silent = False
    stage.run(120)
    assert len(stage.producer.sent) == 200 * len(MANY)
    assert not stage.consumer.paused


def test_partitions_whose_offsets_cannot_be_learned_keep_the_others_waiting_for_a_part_of_the_time_alone() -> (
    None
):
    stage = Stage()
    stage.consumer.standing[2] = TopicPartition("claims", 2, 0)
    answer, began = stage.consumer.committed, stage.clock.now()
    tries: list[float] = []

    def unstable(asked: list[TopicPartition], seconds: float) -> list[TopicPartition]:
        """As of a partition whose last owner died in a transaction, until that times out."""
        tries.append(seconds)
        if stage.clock.now() + seconds < began + 12.0:
            stage.clock.advance(seconds)
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return answer(asked, seconds)

    stage.consumer.committed = unstable  # type: ignore[method-assign]
    stage.publish(10, partition=2)
    stage.assign(2)
    stage.publish(1_000)
    later = [stage.consumer.records.pop() for _ in range(1_000)]
    while 2 not in {partition for _, partition, _ in stage.producer.sent}:
        stage.consumer.records.append(later.pop())
        before = stage.clock.now()
        stage.step()
        assert stage.clock.now() - before <= 0.8 + 1e-6
        stage.producer.acknowledge(len(stage.producer))
        stage.clock.advance(0.02)
    assert 12.0 < stage.clock.now() - began < 13.5
    assert sum(tries) < 0.4 * 12.0
    assert len(later) < 700
    assert tries[:9] == pytest.approx([0.5, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.4, 0.1])


def test_claims_are_counted_when_they_are_taken_in_so_once_where_they_were_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = with_all_held(monkeypatch)
    assert stage.count("claims_consumed_total") == 0
    assert stage.pipeline._reading.at(stage.clock.now()) == 0
    stage.consumer.silent = False
    stage.run(80)
    assert stage.count("claims_consumed_total") == 200 * len(MANY)


def test_neither_an_error_nor_what_is_left_to_the_next_owner_counts_as_claims_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    said = Record(0, 0, None, b"", 0)
    said._answers["error"] = KafkaError(KafkaError._TRANSPORT)
    stage.consumer.records.append(said)
    stage.publish(20)
    stage.step("intake")
    assert stage.count("claims_consumed_total") == 20
    stage.publish(20, start=20)
    told_to_end_while_it_polls(stage, monkeypatch)
    assert stage.count("claims_consumed_total") == 20


def known_ends(stage: Stage, ends: dict[int, tuple[int, int]]) -> None:
    """What the client knows of each partition from its last fetch: the first offset and the end."""
    unknown = (OFFSET_INVALID, OFFSET_INVALID)
    stage.consumer.get_watermark_offsets = lambda place, **_: ends.get(place.partition, unknown)  # type: ignore[method-assign]


def test_lag_is_known_from_the_first_fetch_on_though_nothing_was_read() -> None:
    stage = Stage()
    stage.lose(0, 1)
    stage.consumer.standing[0] = TopicPartition("claims", 0, 400)
    stage.consumer.standing[2] = TopicPartition("claims", 2, 15)
    known_ends(stage, {})
    stage.assign(0, 1, 2)
    member = stage.pipeline.consumer
    assert member.lags() == {}
    member.report_lag()
    assert stage.count("partitions_unknown") == 3
    known_ends(stage, {0: (100, 1_000), 1: (20, 500), 2: (30, 100)})
    # From the commit; where there is none, or what it names is gone, from the first record that is there.
    assert member.lags() == {0: 600, 1: 480, 2: 70}
    member.report_lag()
    assert [stage.count("consumer_lag", str(partition)) for partition in range(3)] == [600, 480, 70]
    assert stage.count("partitions_unknown") == 0
    stage.publish(50, start=400)
    stage.step("intake")
    assert member.lags() == {0: 550, 1: 480, 2: 70}
    stage.lose(0)
    assert member.lags() == {1: 480, 2: 70}


def test_a_partition_that_is_read_anew_counts_from_its_new_commit() -> None:
    stage = Stage()
    known_ends(stage, {0: (0, 1_000)})
    stage.publish(200)
    stage.step("intake")
    stage.lose(0)
    stage.consumer.standing[0] = TopicPartition("claims", 0, 150)
    stage.assign(0)
    assert stage.pipeline.consumer.lags() == {0: 850}


def test_a_group_that_begins_at_the_end_has_no_lag_before_it_read() -> None:
    positions = ReadPositions(from_end=True)
    positions.began(0, OFFSET_INVALID)
    positions.began(1, 10)
    assert (positions.lag(0, 5, 100), positions.lag(1, 5, 100)) == (None, 90)


def test_partitions_that_begin_at_their_end_are_no_riddle(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    member = stage.pipeline.consumer
    stage.lose(0, 1)
    monkeypatch.setattr(member, "_positions", ReadPositions(from_end=True))
    known_ends(stage, {0: (0, 1_000)})
    stage.assign(0, 1)
    member.report_lag()
    assert (member.lags(), stage.count("partitions_unknown")) == ({}, 1)


def test_partitions_whose_offsets_cannot_be_learned_are_counted() -> None:
    stage = Stage()
    known_ends(stage, dict.fromkeys(MANY, (0, 1_000)))
    not_known_yet(stage)
    stage.pipeline.consumer.report_lag()
    assert stage.count("partitions_unknown") == len(MANY)


def test_no_partition_is_read_while_so_much_is_held_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.offsets.MOST_INTEGERS", 1)
    stage = Stage()
    monkeypatch.setattr(stage.pipeline.consumer, "_held", Held(200, 2_000))
    stage.publish(1)
    stage.step("intake")
    stage.publish(100, start=MOST_OFFSETS - 50)
    stage.step("intake", "intake")
    assert stage.consumer.stopped == {0, 1}
    stage.publish(100, partition=1)
    stage.step("intake")
    assert stage.ledger.pending([1]) == 0
    stage.run()
    assert len(stage.producer.sent) == 201
    assert not stage.consumer.paused


def test_a_partition_that_nobody_says_where_to_begin_stops_the_stage() -> None:
    stage = Stage()
    record = Record(1, OFFSET_INVALID, None, b"", 0)
    record._answers |= {
        "topic": "claims",
        "error": KafkaError(KafkaError._AUTO_OFFSET_RESET, "no previously committed offset available"),
    }
    stage.consumer.records.append(record)
    with pytest.raises(
        StopError, match=r"partition 1 of 'claims' is not read: no prev.* auto\.offset\.reset: error"
    ):
        stage.step("intake")
