"""The batch policy, the sizer and the lanes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.batch_policy import Close, Wait, decide
from stream.batch_sizer import CurveFit, LatencyCurve, SizeLimits, target_size
from stream.lanes import Lane, LaneView
from stream.records import CloseReason

seconds = st.floats(0, 10)
curves = st.builds(LatencyCurve, st.floats(0, 0.1), st.floats(1e-6, 0.01))
views = st.builds(
    LaneView, st.just(0), st.integers(1, 2_000), st.floats(-10, 10), st.one_of(seconds, st.just(float("inf")))
)


@given(views, curves, st.integers(1, 1_000), seconds, st.floats(-10, 10), st.booleans())
def test_never_closes_more_than_the_target_nor_waits_past_the_deadline(
    view: LaneView, curve: LatencyCurve, target: int, delivery: float, now: float, draining: bool
) -> None:
    decision = decide(view, curve, target, delivery, now, draining=draining)
    if isinstance(decision, Close):
        assert 1 <= decision.count <= min(target, view.waiting)
        assert (decision.reason is CloseReason.SIZE) == (view.waiting >= target)
    else:
        assert not draining
        assert now <= decision.until
        assert decision.until + curve.seconds(view.waiting + 1) + delivery <= view.deadline + 1e-9


@given(views, curves, st.integers(1, 1_000))
def test_draining_always_closes(view: LaneView, curve: LatencyCurve, target: int) -> None:
    assert isinstance(decide(view, curve, target, 0.0, 0.0, draining=True), Close)


def test_gives_each_reason() -> None:
    curve = LatencyCurve(fixed=0.005, each=0.0001)

    def reason(waiting: int, deadline: float, gap: float, *, draining: bool = False) -> CloseReason | None:
        decision = decide(LaneView(0, waiting, deadline, gap, 0.0), curve, 32, 0.01, 0.0, draining=draining)
        return decision.reason if isinstance(decision, Close) else None

    assert reason(40, 1.0, 0.0001) is CloseReason.SIZE
    assert reason(3, 1.0, 0.0001, draining=True) is CloseReason.DRAIN
    assert reason(3, 1.0, 0.1) is CloseReason.IDLE
    assert reason(3, 0.0155, 0.001) is CloseReason.DEADLINE
    assert reason(3, 1.0, 0.001) is None


def test_waits_one_arrival_gap() -> None:
    decision = decide(
        LaneView(0, 1, 1.0, 0.002, 0.0), LatencyCurve(0.1, 0.0), 32, 0.0, 5.0 - 4.9, draining=False
    )
    assert decision == Wait(pytest.approx(0.102))


@given(curves, st.floats(-1, 10), st.integers(1, 100), st.integers(0, 1_000))
def test_target_stays_within_its_limits(curve: LatencyCurve, slack: float, smallest: int, more: int) -> None:
    limits = SizeLimits(smallest, smallest + more)
    target = target_size(curve, slack, limits)
    assert smallest <= target <= smallest + more
    if slack > curve.fixed and target > smallest:
        assert curve.seconds(target) <= slack + 1e-9


def test_target_is_the_largest_when_late_or_fixed() -> None:
    curve = LatencyCurve(0.005, 0.0001)
    assert target_size(curve, -1.0, SizeLimits(32, 512)) == 512
    assert target_size(curve, 0.0151, SizeLimits(32, 512)) == 101
    assert target_size(curve, 0.0151, SizeLimits(32, 512, automatic=False)) == 512


@given(st.floats(1e-4, 0.1), st.floats(1e-6, 1e-3), st.lists(st.integers(1, 512), min_size=2, max_size=60))
def test_fit_finds_a_line(fixed: float, each: float, sizes: list[int]) -> None:
    fit = CurveFit()
    for size in [*sizes, 1, 600]:
        fit.observe(size, fixed + each * size)
    assert fit.curve().seconds(300) == pytest.approx(fixed + each * 300, rel=1e-3)


@given(st.lists(st.tuples(st.integers(1, 512), st.floats(0, 1)), max_size=50))
def test_fit_never_predicts_less_than_nothing(observations: list[tuple[int, float]]) -> None:
    fit = CurveFit()
    for size, spent in observations:
        fit.observe(size, spent)
    curve = fit.curve()
    assert curve.fixed >= 0.0
    assert curve.each >= 0.0


@given(st.lists(st.one_of(st.integers(1, 20), st.integers(-20, -1)), max_size=60))
def test_lane_is_first_in_first_out(moves: list[int]) -> None:
    lane, pushed, taken = Lane(0), 0, []
    for now, move in enumerate(moves):
        if move > 0:
            lane.push(np.arange(pushed, pushed + move, dtype=np.int32), np.full(move, 5.0), float(now))
            pushed += move
        else:
            taken += lane.take(-move).tolist()
        assert lane.waiting == pushed - len(taken)
    assert taken + lane.take(10**6).tolist() == list(range(pushed))


def test_lane_sees_arrivals_and_silence() -> None:
    lane = Lane(0)
    lane.push(np.arange(2, dtype=np.int32), np.array([9.0, 7.0]), 1.0)
    assert lane.view(1.0) == LaneView(0, 2, 7.0, float("inf"), 1.0)
    lane.push(np.arange(10, dtype=np.int32), np.full(10, 8.0), 2.0)
    assert lane.view(2.0).arrival_gap == pytest.approx(0.1)
    assert lane.view(3.0).arrival_gap == pytest.approx(1.0)
    lane.take(2)
    assert lane.view(2.0).deadline == 8.0
