"""The steps of a worker: what is committed, given back, lost and inherited, under one driver and a virtual clock."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from confluent_kafka import KafkaError, TopicPartition

from stream.errors import FatalError
from stream.offset_metadata import MOST_OFFSETS
from tests.scripted_stage import Record, Stage, told_to_end_while_it_polls


def test_a_commit_that_failed_is_made_again_though_nothing_follows() -> None:
    stage = Stage()
    stage.publish(50)
    stage.run()
    assert stage.consumer.commits == [{0: 50}]
    refused = KafkaError(KafkaError.ILLEGAL_GENERATION)
    stage.offset_commits.note(refused, [TopicPartition("claims", 0, 50)])
    stage.run()
    assert stage.consumer.commits == [{0: 50}, {0: 50}]


def test_a_commit_that_failed_for_one_of_its_partitions_is_made_again_for_that_one() -> None:
    stage = Stage()
    stage.publish(50)
    stage.publish(30, partition=1)
    stage.run()
    assert stage.consumer.commits == [{0: 50, 1: 30}]
    answers = [
        SimpleNamespace(partition=0, offset=50, error=None),
        SimpleNamespace(partition=1, offset=30, error=KafkaError(KafkaError.REQUEST_TIMED_OUT)),
    ]
    stage.offset_commits.note(None, answers)  # type: ignore[arg-type]
    stage.run()
    assert stage.consumer.commits == [{0: 50, 1: 30}, {1: 30}]


def test_news_of_the_cluster_are_asked_for_after_a_rebalance_and_not_within() -> None:
    stage = Stage()
    stage.run(2)
    asked = len(stage.consumer.asked_for)
    stage.revoke(1)
    stage.assign(1)
    assert len(stage.consumer.asked_for) == asked
    stage.run(3)
    assert len(stage.consumer.asked_for) == asked + 1


def test_a_record_whose_partition_came_back_within_the_same_poll_is_left_to_the_new_reading() -> None:
    stage = Stage()
    stage.publish(3, start=7)
    consume = stage.consumer.consume

    def interrupted(count: int, seconds: float) -> list[Record]:
        stage.consumer.records.clear()
        stage.lose(0)
        stage.assign(0)
        stage.publish(10)
        return consume(count, seconds)

    stage.consumer.consume = interrupted
    stage.step("intake")
    stage.consumer.consume = consume
    stage.run()
    assert len(stage.producer.sent) == 10
    assert stage.consumer.commits[-1] == {0: 10}


def test_a_revoke_finishes_and_commits_what_is_in_flight() -> None:
    stage = Stage()
    stage.publish(150)
    stage.step("intake")
    stage.revoke(0)
    assert stage.drained == [[0]]
    assert stage.consumer.commits == [{0: 150}]
    assert len(stage.producer.sent) == 150
    assert stage.ledger.owned() == [1]


def test_what_is_lost_is_neither_produced_nor_committed() -> None:
    stage = Stage()
    stage.publish(150)
    stage.step("intake")
    stage.lose(0)
    stage.run()
    assert stage.producer.sent == []
    assert stage.consumer.commits == []
    assert stage.count("stale_results_total") == 150
    assert stage.arena.in_flight == 0


def test_what_a_poll_brings_while_the_stage_is_told_to_end_is_left_to_the_next_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    stage.publish(20)
    told_to_end_while_it_polls(stage, monkeypatch)
    assert stage.pipeline.unfinished() == 0


def test_a_commit_for_a_topic_that_is_gone_is_not_made_again() -> None:
    stage = Stage()
    stage.publish(50)
    stage.run()
    stage.offset_commits.note(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), [TopicPartition("claims", 0, 50)])
    stage.consumer.commits.clear()
    with pytest.raises(FatalError, match="'claims' is gone"):
        stage.run()
    stage.revoke(0, 1)
    assert stage.consumer.commits == []


def test_a_topic_that_was_made_anew_ends_the_worker_and_what_was_before_is_not_committed() -> None:
    stage = Stage()
    stage.publish(50)
    stage.step()
    stage.step("scoring", "output")
    stage.producer.acknowledge(len(stage.producer))
    stage.publish(10)
    with pytest.raises(
        FatalError, match=r"at offset 0, though it was read up to 50: the topic was made anew"
    ):
        stage.run()
    stage.consumer.commits.clear()
    stage.revoke(0, 1)
    assert stage.consumer.commits == []


def test_completions_of_an_old_assignment_do_not_count_for_the_new_one() -> None:
    stage = Stage()
    stage.publish(150)
    stage.step()
    stage.step("scoring", "output")
    stage.lose(0)
    stage.assign(0)
    stage.publish(20)
    stage.run()
    assert stage.consumer.commits[-1] == {0: 20}


def left_by_a_killed_owner(stage: Stage) -> TopicPartition:
    """The commit of an owner of partition 0 that delivered all but the first twenty of 150 records."""
    stage.publish(150)
    stage.step("intake")
    ledger = stage.ledger
    place = np.zeros(130, np.int64)
    ledger.complete(place, np.arange(20, 150), ledger.epochs(place))
    stage.clock.advance(1.0)
    stage.step("intake")
    return stage.consumer.standing[0]


def test_the_next_owner_skips_what_is_complete_beyond_the_commit() -> None:
    left = left_by_a_killed_owner(Stage())
    stage = Stage()
    stage.lose(0)
    stage.consumer.standing[0] = left
    stage.assign(0)
    stage.publish(160)
    stage.run()
    assert (left.offset, len(stage.producer.sent)) == (0, 30)
    assert stage.count("claims_skipped_total") == 130
    assert stage.consumer.standing[0].offset == 160
    assert stage.consumer.standing[0].metadata == ""


def test_metadata_that_cannot_be_read_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.lose(0)
    stage.consumer.standing[0] = TopicPartition("claims", 0, 0, "of another program")
    stage.assign(0)
    stage.publish(50)
    stage.run()
    assert len(stage.producer.sent) == 50
    assert stage.count("offset_metadata_ignored_total") == 1
    assert "the metadata of the commit at 0 are ignored: it is of another version" in caplog.text


def test_a_partition_waits_until_it_is_known_what_was_completed() -> None:
    left = left_by_a_killed_owner(Stage())
    stage = Stage()
    stage.lose(0)
    stage.consumer.standing[0], stage.consumer.silent = left, True
    stage.assign(0)
    stage.publish(150)
    stage.publish(50, partition=1)
    stage.run()
    assert len(stage.producer.sent) == 50
    stage.consumer.silent = False
    stage.run()
    assert len(stage.producer.sent) == 50 + 20
    assert not stage.consumer.paused


def test_a_partition_is_held_at_the_end_of_its_window_while_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream.offsets.MOST_INTEGERS", 1)
    stage = Stage()
    stage.publish(1)
    stage.step("intake")
    stage.publish(100, start=MOST_OFFSETS - 50)
    stage.publish(100, partition=1)
    stage.step("intake")
    assert stage.consumer.stopped == {0}
    assert stage.ledger.pending() == 1 + 50 + 100
    stage.pipeline.consumer.pause()
    stage.pipeline.consumer.resume()
    assert stage.consumer.stopped == {0}
    stage.run()
    assert len(stage.producer.sent) == 201
    assert not stage.consumer.paused
    assert stage.count("partitions_held_total") == 1


def test_a_commit_that_failed_is_made_again() -> None:
    stage = Stage()
    stage.publish(50)
    stage.run()
    failed = [TopicPartition("claims", 0, 50)]
    stage.offset_commits.note(KafkaError(KafkaError._TIMED_OUT), failed)
    stage.run()
    assert stage.consumer.commits == [{0: 50}, {0: 50}]
