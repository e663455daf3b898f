"""Which lane is served, when several wait; what is learned; models too slow for the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from config import load_settings
from models import ModelIdentity
from stream.batch_policy import Wait
from stream.batch_sizer import DeviceLoad, SizeLimits
from stream.batching import Batcher, BatchingRules, Chosen
from stream.cost_model import LatencyCurve
from stream.lanes import Lanes
from stream.metrics import StageMetrics
from stream.options import batching_rules
from stream.speeds import name_of

FAST = LatencyCurve(0.002, 0.0001)
SLOW = LatencyCurve(0.010, 0.020)
RULES = BatchingRules(SizeLimits(8, 512), budget=0.2, latest=10.0)


class NoModel:
    """A lease of a model that nobody uses."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class Models:
    """Every lane's model is there, unless it is told to be absent."""

    def __init__(self) -> None:
        self.absent: set[int] = set()

    def identity(self, lane: int) -> ModelIdentity:
        return ModelIdentity(f"model{lane}", "1.0.0", "default", "fp32", "cpu")

    def names(self, lane: int) -> frozenset[str]:
        return frozenset({f"model_v{lane}"})

    def ready(self, lane: int) -> bool:
        return lane not in self.absent

    def resident(self, lane: int) -> NoModel | None:
        return NoModel() if lane not in self.absent else None


class Desk:
    """A batcher, its lanes and models of known speed."""

    def __init__(self, *curves: LatencyCurve, rules: BatchingRules = RULES) -> None:
        self.lanes, self.models, self.metrics = Lanes(len(curves)), Models(), StageMetrics()
        speeds = {name_of(self.models.identity(lane)): curve for lane, curve in enumerate(curves)}
        self.batcher = Batcher(self.lanes, self.models, rules, self.metrics, speeds)  # type: ignore[arg-type]
        self._rows = 0

    def push(self, lane: int, deadlines: Sequence[float], now: float = 0.0) -> None:
        rows = np.arange(self._rows, self._rows + len(deadlines), dtype=np.int32)
        self._rows += len(rows)
        self.lanes.push(lane, rows, np.array(deadlines), now)

    def next(self, now: float = 0.0, *, slow: bool = False) -> Chosen:
        chosen = self.batcher.next(now, slow=slow)
        assert isinstance(chosen, Chosen)
        return chosen

    def took(self, lane: int, seconds: float, times: int = 1) -> None:
        """Batches of one claim took so long."""
        self.batcher.conditions.draining = True
        for _ in range(times):
            self.push(lane, [1e9])
            chosen = self.next(slow=self.batcher.is_slow(lane))
            assert chosen.batch.lane == lane
            self.batcher.observe(chosen, seconds)
        self.batcher.conditions.draining = False


def test_the_lane_with_the_least_time_left_goes_first() -> None:
    desk = Desk(FAST, FAST)
    desk.push(0, [0.15] * 300)
    desk.push(1, [0.10] * 300)
    assert [desk.next().batch.lane, desk.next().batch.lane] == [1, 0]


def test_a_batch_is_no_longer_than_the_other_lanes_can_wait() -> None:
    desk = Desk(FAST, SLOW)
    desk.push(0, [0.12])
    desk.push(1, [0.11] * 20)
    chosen = desk.next()
    # One claim of the slow model takes 30 ms; the fast one's has to begin within 117.9.
    assert chosen.batch.lane == 1
    assert len(chosen.batch.rows) == 5
    assert SLOW.seconds(5) <= 0.1179 < SLOW.seconds(6)
    assert chosen.decision.cap_ms == pytest.approx(117.9)


def test_a_model_that_is_let_go_for_a_moment_is_asked_for_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(FAST)
    desk.push(0, [0.15] * 300)
    with monkeypatch.context() as moment:
        moment.setattr(desk.models, "resident", lambda _: None)
        choice = desk.batcher.next(0.0)
    assert isinstance(choice, Wait)
    assert 0.0 < choice.until < 0.05
    assert len(desk.next(choice.until).batch.rows) == 300


def test_priority_is_a_head_start_that_age_makes_up_for() -> None:
    desk = Desk(FAST, FAST, rules=replace(RULES, head_starts={"model_v1": 0.1}))
    desk.push(0, [0.10] * 300)
    desk.push(1, [0.19] * 300)
    assert [desk.next().batch.lane, desk.next().batch.lane] == [1, 0]
    desk.push(0, [0.10] * 300)
    desk.push(1, [0.21] * 300)
    assert [desk.next().batch.lane, desk.next().batch.lane] == [0, 1]


def test_the_catalog_puts_the_claims_of_a_model_first(tmp_path: Path) -> None:
    catalog, entry = (
        tmp_path / "ml_models.yaml",
        "{type: x, framework: onnx, input_size: [1, 1], memory_mb: 1, ",
    )
    catalog.write_text(f"models:\n  model_v0: {entry}}}\n  model_v1: {entry}priority: high}}\n")
    rules = batching_rules(load_settings(None, {}, {"cache.catalog": str(catalog), "latency.budget_ms": 200}))
    desk = Desk(FAST, FAST, rules=rules)
    desk.push(0, [0.10] * 300)
    desk.push(1, [0.19] * 300)
    assert [desk.next().batch.lane, desk.next().batch.lane] == [1, 0]


def test_a_lane_of_lower_priority_does_not_shorten_batches() -> None:
    desk = Desk(FAST, SLOW, rules=replace(RULES, head_starts={"model_v1": 0.1}))
    desk.push(0, [0.12])
    desk.push(1, [0.16] * 7)
    chosen = desk.next()
    assert (chosen.batch.lane, len(chosen.batch.rows), chosen.decision.cap_ms) == (1, 7, None)


def test_a_single_claim_goes_even_when_the_others_cannot_wait_for_it() -> None:
    desk = Desk(FAST, SLOW)
    desk.push(0, [0.020])
    desk.push(1, [0.031])
    chosen = desk.next()
    assert (chosen.batch.lane, len(chosen.batch.rows)) == (1, 1)


def test_a_lane_that_is_behind_lets_another_be_on_time_that_could_not_wait_for_it() -> None:
    desk = Desk(FAST, SLOW)
    desk.push(0, [0.020])
    desk.push(1, [0.031] * 9)
    assert [desk.next().batch.lane, desk.next(0.0021).batch.lane] == [0, 1]


def test_lanes_that_are_behind_do_not_shorten_each_others_batches() -> None:
    desk = Desk(FAST, FAST)
    for lane in (0, 1):
        desk.push(lane, np.linspace(0.0, 0.2, 2_000).tolist(), now=-0.01)
    first, second = desk.next(), desk.next(0.03)
    assert {first.batch.lane, second.batch.lane} == {0, 1}
    assert min(len(first.batch.rows), len(second.batch.rows)) > 50
    assert first.decision.cap_ms is None


def test_what_is_aside_for_too_long_in_two_lanes_goes_in_large_batches() -> None:
    desk = Desk(FAST, FAST)
    for lane in (0, 1):
        desk.push(lane, [-1.0] * 600 + [0.15] * 300)
        assert desk.next().decision.given_up
    desk.push(0, [11.2] * 10, now=11.0)
    desk.push(1, [11.2] * 10, now=11.0)
    sizes = [len(desk.next(11.0).batch.rows) for _ in range(2)]
    assert min(sizes) > 200


def test_late_claims_wait_for_lanes_that_can_be_on_time() -> None:
    desk = Desk(FAST, FAST)
    desk.push(0, [-1.0] * 5)
    desk.push(1, [0.15] * 300)
    assert desk.next().batch.lane == 1
    assert desk.next().batch.lane == 0


def test_a_lane_whose_claims_are_all_late_takes_its_turn_before_one_that_is_always_busy() -> None:
    desk = Desk(FAST, FAST)
    desk.push(1, [-1.0] * 5)
    served = []
    for moment in np.arange(0.0, 11.0, 0.1).tolist():
        desk.push(0, [moment + 0.15] * 100, now=moment)
        served.append(desk.next(moment).batch.lane)
    # They were late when they came, and the lane has a turn after ten seconds.
    assert [at for at, lane in enumerate(served) if lane == 1] == [101]


def test_all_that_have_been_late_for_too_long_take_turns_however_many() -> None:
    desk, now = Desk(FAST, FAST), 10.1
    desk.push(1, [-1.0] * 2_000)
    while desk.lanes.view(1, now).waiting and now < 12.0:
        desk.push(0, [now + 0.19] * 40, now)
        now += FAST.seconds(len(desk.next(now).batch.rows))
    assert now < 11.0


def test_only_who_stays_aside_counts_as_given_up() -> None:
    desk = Desk(FAST)
    desk.push(0, [-1.0] * 600 + [30.15] * 5)
    # So long after they came nothing presses: nobody is given up for what is predicted.
    chosen = desk.next(30.0)
    size = len(chosen.batch.rows)
    assert chosen.batch.rows[:5].tolist() == list(range(600, 605))
    assert (chosen.decision.late, chosen.decision.given_up) == (size - 5, 605 - size)
    assert desk.lanes.aside() == chosen.decision.given_up


def test_what_is_aside_for_too_long_goes_first() -> None:
    desk = Desk(FAST)
    desk.push(0, [0.001] * 3 + [0.15] * 300)
    assert desk.next().decision.given_up == 3
    desk.push(0, [10.1] * 600, now=9.9)
    assert desk.next(9.9).batch.reason.value != "late"
    desk.push(0, [11.2] * 600, now=11.0)
    first = desk.next(11.0)
    assert (first.batch.reason.value, first.decision.late) == ("late", 3)


def test_a_lane_whose_model_is_away_gathers_and_is_told() -> None:
    desk = Desk(FAST, FAST)
    desk.push(0, [0.1])
    desk.models.absent.add(0)
    assert desk.batcher.next(0.0) == Wait(float("inf"))
    assert desk.batcher.lacking == {0}


def test_a_slow_model_is_scored_apart_until_it_is_fast_again() -> None:
    desk = Desk(FAST, FAST)
    desk.took(1, 0.150, times=12)
    assert desk.batcher.has_slow
    desk.push(0, [0.2])
    desk.push(1, [0.2])
    desk.batcher.conditions.draining = True
    assert desk.next().batch.lane == 0
    assert isinstance(desk.batcher.next(0.0), Wait)
    assert desk.next(slow=True).batch.lane == 1
    desk.took(1, 0.010, times=40)
    assert not desk.batcher.has_slow


def test_a_first_large_batch_makes_no_model_slow() -> None:
    desk = Desk(LatencyCurve(0.0, 0.0))
    for _ in range(20):
        desk.push(0, [0.0] * 400)
        desk.batcher.observe(desk.next(), 0.15)
    assert not desk.batcher.has_slow


def test_a_model_beyond_its_budget_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(FAST)
    with caplog.at_level(logging.WARNING):
        desk.took(0, 0.5, times=20)
    assert caplog.text.count("the budget is 200 ms: none can be on time") == 1
    assert desk.metrics.snapshot().numbers["models_beyond_budget", ()] == 1


def test_batches_of_one_size_are_halved_now_and_then() -> None:
    desk = Desk(FAST, rules=BatchingRules(SizeLimits(64, 64, automatic=False), budget=10.0))
    taken = []
    for _ in range(200):
        desk.push(0, [1e9] * 64)
        chosen = desk.next()
        taken.append(len(chosen.batch.rows))
        desk.batcher.observe(chosen, FAST.seconds(taken[-1]))
    assert taken.count(64) > 180
    assert 32 in taken


def test_the_load_policy_shrinks_its_base_and_pressure_shrinks_it_further() -> None:
    desk = Desk(FAST, rules=BatchingRules(SizeLimits(8, 512), budget=10.0, base=400))
    desk.batcher.conditions.device = DeviceLoad(available=8.0, total=16.0, load=50.0)
    desk.push(0, [1e9] * 500)
    assert len(desk.next().batch.rows) == 100


def test_what_was_learned_is_told_for_the_next_run() -> None:
    desk = Desk(FAST, SLOW)
    assert desk.batcher.speeds() == {}
    desk.took(0, 0.004, times=30)
    (name,) = desk.batcher.speeds()
    assert name == "model0:1.0.0:fp32:cpu"


def test_memory_is_a_ceiling() -> None:
    desk = Desk(FAST)
    desk.batcher.conditions.ceilings[0] = 3
    desk.push(0, [0.2] * 50)
    assert len(desk.next().batch.rows) == 3
