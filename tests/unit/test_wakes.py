"""Whoever makes work for a loop that sleeps, or room, wakes it."""

from __future__ import annotations

from tests.scripted_stage import Stage


def test_claims_that_go_on_to_their_next_model_wake_scoring() -> None:
    stage = Stage(route=("null", "another"))
    stage.publish(50)
    stage.step("intake")
    stage.woken.clear()
    stage.step("scoring")
    assert "scoring" in stage.woken
    stage.woken.clear()
    stage.step("scoring")
    assert "scoring" not in stage.woken
    stage.run()
    assert len(stage.producer.sent) == 50
