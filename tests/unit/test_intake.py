"""What intake takes in and what it leaves: held partitions, revokes, and what is counted."""

from __future__ import annotations

import pytest

from tests.scripted_stage import Stage

MANY = range(8)


def not_known_yet(stage: Stage) -> None:
    """Eight partitions of 200 records each, and the group's coordinator does not answer."""
    stage.consumer.silent = True
    stage.assign(*MANY)
    for partition in MANY:
        stage.publish(200, partition)


def test_what_was_held_of_many_partitions_is_let_go_in_portions_that_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(capacity=1_000)
    not_known_yet(stage)
    # As if all of them had been assigned within the polls that brought their records.
    monkeypatch.setattr(stage.consumer, "pause", lambda _: None)
    for _ in MANY:
        stage.step("intake")
    assert (len(stage.consumer.records), stage.arena.in_flight) == (0, 0)
    stage.consumer.silent = False
    stage.run(80)
    assert len(stage.producer.sent) == 200 * len(MANY)
    assert all(stage.consumer.standing[partition].offset == 200 for partition in MANY)


def test_a_partition_is_not_read_while_it_is_not_known_what_was_completed_of_it() -> None:
    stage = Stage()
    not_known_yet(stage)
    stage.run(10)
    assert stage.consumer.stopped == set(MANY)
    assert len(stage.consumer.records) == 200 * len(MANY)
    stage.consumer.silent = False
    stage.run(80)
    assert len(stage.producer.sent) == 200 * len(MANY)
    assert not stage.consumer.paused
