"""Whoever makes work for a loop that sleeps, or room, wakes it."""

from __future__ import annotations

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
