"""Cases, figures and pictures of the batching benchmark, on a tiny size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.batching import figures
from bench.batching.cases import BUDGETS, CURVES, LARGEST, LIMITS, Case, capacity, case, cases
from bench.batching.figures import Outcome, goodput, outcome
from bench.batching.overload import Course, overload
from bench.batching.plot import goodput_plot, latencies_plot, sizes_plot
from bench.batching.quiet import Decisions
from bench.batching.replay import Served
from bench.batching.rivals import Best
from bench.batching.showcase import BOUND, STAGE, Loads, with_policy
from bench.batching.simulator import Reading, World, simulate
from bench.report import Figure
from stream.batching import BatchingRules


def named(found: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in found}


def made(pattern: str, bound: float, feasible: bool, policy: float, rival: float) -> Outcome:
    times = np.zeros(1)
    served = Served(times, times, np.ones(1, dtype=np.int64))
    made_case = Case(pattern, 0.5, CURVES[0], 0.02, times)
    rivals = {"greedy": Best(rival / 2, "up to 512 claims", served), "AIMD": Best(rival, "+4", served)}
    return Outcome(made_case, bound, feasible, policy, policy - 0.1, policy - 0.2, rivals)


def test_capacity_is_a_batch_in_half_the_budget_and_no_batch_exceeds_the_largest() -> None:
    assert capacity(CURVES[0], 0.02) == pytest.approx(50 / 0.010)
    assert capacity(CURVES[0], 10.0) == pytest.approx(LARGEST / CURVES[0].seconds(LARGEST))


def test_all_patterns_meet_all_loads_curves_and_budgets() -> None:
    every, some = list(cases(5, 1, quick=False)), list(cases(5, 1, quick=True))
    assert len({str(each) for each in every}) == len(every) == 2 * 3 * (5 * 4 + 2)
    assert {(each.curve, each.budget) for each in every} == {(c, b) for c in CURVES for b in BUDGETS}
    assert {str(each) for each in some} < {str(each) for each in every}
    assert {each.pattern for each in some} == {each.pattern for each in every}
    assert all(len(each.times) == 5 for each in every)


def test_a_trace_shows_the_whole_of_its_pattern_at_its_load() -> None:
    ramp = case("ramp", 0.5, CURVES[0], 0.02, 2_000, 1)
    span = 2_000 / (0.5 * capacity(CURVES[0], 0.02))
    assert ramp.times[-1] == pytest.approx(span, rel=0.1)
    assert np.count_nonzero(ramp.times < span / 2) < 0.4 * 2_000


def test_an_outcome_holds_the_policy_against_the_bound_and_the_rules() -> None:
    easy = outcome(case("Poisson", 0.6, CURVES[0], 0.067, 150, 1))
    assert (easy.bound, easy.feasible, easy.policy) == (1.0, True, 1.0)
    hard = outcome(case("Poisson", 2.0, CURVES[0], 0.02, 300, 1))
    assert not hard.feasible
    assert max(best.on_time for best in hard.rivals.values()) < hard.policy <= hard.bound < 1.0
    assert hard.against_rivals > 1.0
    steady = simulate(hard.case.times, World((CURVES[0],)), BatchingRules(LIMITS, 0.02))
    assert 0.0 < hard.noisy != steady.on_time(0.02)
    # The device is as fast as it is for even claims.
    assert 0.0 < hard.uneven < 1.05 * hard.bound


def test_figures_are_the_worst_and_the_mean_of_shares_of_the_bound() -> None:
    found = named(
        goodput(
            [
                made("Poisson", 1.0, True, 0.995, 0.99),
                made("ramp", 1.0, True, 1.0, 1.0),
                made("ramp", 0.8, False, 0.72, 0.9),
                made("on-off", 0.8, False, 0.32, 0.1),
            ]
        )
    )
    assert {name: figure.value for name, figure in found.items()} == pytest.approx(
        {
            "goodput_feasible": 0.995,
            "goodput_overload": 0.6,
            "goodput_overload_worst": 0.4,
            "goodput_vs_rivals": 0.8,
            "goodput_feasible_noisy": 0.895,
            "goodput_overload_noisy": ((0.62 / 0.8) * (0.22 / 0.8)) ** 0.5,
            "goodput_feasible_uneven": 0.795,
            "goodput_overload_uneven": ((0.52 / 0.8) * (0.12 / 0.8)) ** 0.5,
        }
    )
    assert "1 of 4" in found["goodput_vs_rivals"].note
    assert "0.800 ramp at 0.5" in found["goodput_vs_rivals"].note
    assert "AIMD of +4" in found["goodput_vs_rivals"].note
    assert "ramp 0.90, on-off 0.40" in found["goodput_overload"].note


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.95, 0.05)])
def test_two_models_share_an_overload_in_large_batches(shares: tuple[float, ...]) -> None:
    course = Course(lasts=2.0, rest=3.0)
    found = overload(CURVES[1], 0.067, course, shares=shares)
    assert found.throughput > 0.95
    assert found.recovery < 2.0


def test_in_an_overload_batches_are_large_and_afterwards_claims_are_on_time_again() -> None:
    course = Course(lasts=0.6, rest=1.2)
    found = overload(CURVES[1], 0.02, course, Reading(claims=2_000, ahead=LARGEST, poll=500))
    assert 0.9 < found.throughput < 1.1
    assert 0.0 < found.recovery < course.rest
    assert 0.0 < found.least < course.rest


def test_all_figures_and_pictures_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = [case("Poisson", load, CURVES[0], 0.02, 120, 1) for load in (0.3, 2.0)]
    shown, small = with_policy(tiny[1]), Course(lasts=0.2, rest=0.2)
    monkeypatch.setattr(figures, "decisions", lambda *, quick: Decisions(18.0, 310.0, 0.015))
    monkeypatch.setattr(figures, "cases", lambda *arguments, **named: iter(tiny))
    monkeypatch.setattr(figures, "Course", lambda **named: small)
    monkeypatch.setattr(figures, "bursty", lambda claims: (tiny[1], shown, {"greedy": shown}))
    monkeypatch.setattr(
        figures, "loads", lambda claims, *, quick: [Loads("ramp", (1.0, 2.0), {"a": (1.0, 0.5)})]
    )
    found = named(figures.measure(quick=True, plots=tmp_path))
    assert found["decision_us"].met
    assert not found["planning_us"].met
    assert found["deciding_share"].value == 1.5
    assert {"goodput_feasible", "throughput_overload", "throughput_overload_two_models", "recovery_s"} < set(
        found
    )
    pictures = sorted(path.name for path in tmp_path.iterdir())
    assert pictures == ["batching_goodput.png", "batching_latency.png", "batching_sizes.png"]


def test_pictures_are_pictures(tmp_path: Path) -> None:
    shown = with_policy(case("Poisson", 2.0, CURVES[0], 0.02, 120, 1))
    latencies_plot({STAGE: shown, "greedy": shown}, 0.02, tmp_path / "deep" / "a.png")
    sizes_plot(shown, 5_000.0, tmp_path / "b.png")
    goodput_plot([Loads("ramp", (1.0, 2.0), {BOUND: (1.0, 0.9), STAGE: (1.0, 0.8)})] * 2, tmp_path / "c.png")
    for name in ("deep/a.png", "b.png", "c.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
