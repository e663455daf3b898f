"""The wall clock jumps, as NTP makes it do: nothing waits for it, nothing is lost, and what is late says so."""

from __future__ import annotations

import pytest

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
