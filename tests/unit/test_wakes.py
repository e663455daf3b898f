"""Whoever makes work for a loop that sleeps, or room, wakes it."""

from __future__ import annotations

from typing import Any

import pytest

from stream.outbox import Outbox
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


def test_scoring_that_finds_the_outbox_full_while_output_serves_is_woken_by_the_room_that_output_makes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    stage.pipeline.outbox = Outbox(claims=10, letters=10)
    stage.publish(50)
    stage.step("intake")

    def scored_meanwhile() -> None:
        stage.step("scoring", "scoring")
        filled.append(stage.pipeline.outbox.full)
        stage.woken.clear()

    filled = [stage.pipeline.outbox.full]
    monkeypatch.setattr(stage.pipeline.producer, "serve", scored_meanwhile)
    stage.step("output")
    assert filled[:2] == [False, True]
    assert "scoring" in stage.woken


def test_output_does_not_wake_scoring_where_there_was_room() -> None:
    stage = Stage()
    stage.publish(50)
    stage.step("intake", "scoring")
    stage.woken.clear()
    stage.step("output")
    assert "scoring" not in stage.woken


def test_claims_in_a_lane_that_is_found_slow_or_fast_again_wake_the_loop_that_serves_it_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    batcher, forward = stage.pipeline.batcher, stage.model.score
    batcher.conditions.draining = True

    def scored_until(step: str, seconds: float, *, slow: bool) -> None:
        def score(features: Any) -> Any:
            stage.clock.advance(seconds)
            return forward(features)

        monkeypatch.setattr(stage.model, "score", score)
        for number in range(60):
            stage.publish(1 + number % 5, start=10 * number + (0 if slow else 1_000))
            stage.step("intake", "output")
            stage.producer.acknowledge(len(stage.producer))
            stage.woken.clear()
            stage.step(step)
            if batcher.has_slow == slow:
                return

    scored_until("scoring", 0.15, slow=True)
    assert batcher.has_slow
    assert "slow" in stage.woken
    scored_until("slow_scoring", 0.001, slow=False)
    assert not batcher.has_slow
    assert "scoring" in stage.woken
