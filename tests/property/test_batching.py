"""The batch policy and the sizer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from stream.batch_policy import (
    Close,
    Demand,
    Situation,
    Wait,
    decide,
    demand,
    worth_giving_up,
    worth_waiting_for,
)
from stream.batch_sizer import DeviceLoad, SizeLimits, Sizes, size_by_load, sizes
from stream.cost_model import LatencyCurve
from stream.lanes import LaneView, Portion
from stream.records import CloseReason

NOW = 100.0

curves = st.builds(LatencyCurve, st.floats(0, 0.05), st.floats(1e-6, 0.01))
rates = st.one_of(st.just(0.0), st.floats(1.0, 1e5))


@st.composite
def views(draw: st.DrawFn) -> LaneView:
    slack = sorted(draw(st.lists(st.floats(-1.0, 1.0), max_size=60)))
    aside = draw(st.integers(0, 50)) if slack else draw(st.integers(1, 50))
    silence = draw(st.floats(0, 0.1))
    return LaneView(
        0, NOW + np.array(slack), draw(rates), silence, NOW - 1.0, aside, NOW - 2.0 if aside else math.inf
    )


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    most = draw(st.integers(1, 80))
    return Situation(
        draw(curves),
        Sizes(draw(st.integers(1, most)), most),
        budget=draw(st.floats(0.01, 1.0)),
        delivery=draw(st.floats(0, 0.05)),
        margin=draw(st.floats(0, 1.0)),
        reserve=draw(st.floats(0, 0.05)),
        cap=draw(st.one_of(st.just(math.inf), st.floats(0.0, 0.5))),
        spare=draw(st.booleans()),
        give_up=draw(st.booleans()),
        crowded=draw(st.booleans()),
        draining=draw(st.booleans()),
    )


def view(slack: list[float], rate: float = 100.0, aside: int = 0) -> LaneView:
    return LaneView(0, NOW + np.array(slack), rate, 0.0, NOW, aside, NOW - 1.0 if aside else math.inf)


def situation(curve: LatencyCurve, target: int = 32, most: int = 64, **more: float | bool) -> Situation:
    return Situation(curve, Sizes(target, most), budget=0.2, delivery=0.0, **more)  # type: ignore[arg-type]


@given(views(), situations())
def test_a_batch_is_never_empty_and_never_exceeds_what_is_there_or_allowed(
    lane: LaneView, at: Situation
) -> None:
    decision = decide(lane, at, NOW)
    if isinstance(decision, Close):
        portion = decision.portion
        assert 1 <= portion.size <= at.sizes.most
        assert portion.skip >= 0
        assert portion.skip + portion.taken <= lane.waiting
        assert 0 <= portion.aside <= lane.aside + portion.skip
        longest = at.curve.seconds(portion.size) * (1.0 + at.margin) + at.reserve
        assert portion.size == 1 or longest <= at.cap + 1e-9


@given(views(), situations())
def test_what_is_not_late_is_on_time(lane: LaneView, at: Situation) -> None:
    """A batch that is closed for any other reason ends before its earliest claim is due, unless a cap forbids."""
    decision = decide(lane, at, NOW)
    if isinstance(decision, Close) and decision.reason not in (CloseReason.LATE, CloseReason.DRAIN):
        first = lane.deadlines[decision.portion.skip]
        assert NOW + at.delivery + at.curve.seconds(decision.portion.size) <= first + 1e-9


@given(views(), situations())
def test_waiting_makes_nobody_late(lane: LaneView, at: Situation) -> None:
    decision = decide(lane, at, NOW)
    if isinstance(decision, Wait):
        assert not at.draining
        assert decision.until > NOW
        hopeless = int(np.searchsorted(lane.deadlines, NOW + at.delivery + at.curve.seconds(1)))
        more = at.curve.seconds(lane.waiting - hopeless + 1)
        delivered = at.delivery + at.reserve
        assert decision.until + more * (1.0 + at.margin) + delivered <= lane.deadlines[hopeless] + 1e-9


def test_waiting_allows_for_what_batches_and_delivery_may_take_longer() -> None:
    curve, lane = LatencyCurve(fixed=0.005, each=0.0001), view([0.010], rate=250.0)
    assert isinstance(decide(lane, situation(curve), NOW), Wait)
    for more in ({"margin": 0.1}, {"reserve": 0.001}):
        assert decide(lane, situation(curve, **more), NOW) == Close(Portion(0, 1), CloseReason.DEADLINE)


@given(views(), situations())
def test_late_claims_go_first_only_where_nothing_can_be_on_time(lane: LaneView, at: Situation) -> None:
    at = at._replace(spare=True, give_up=True, crowded=False, draining=False)
    decision = decide(lane, at, NOW)
    possible = lane.deadlines >= NOW + at.delivery + at.curve.seconds(1)
    late = isinstance(decision, Close) and decision.reason is CloseReason.LATE
    assert late == (not possible.any())


@given(views(), situations())
def test_nothing_is_given_up_that_fits_into_one_batch(lane: LaneView, at: Situation) -> None:
    at = at._replace(spare=True, give_up=True, crowded=False, draining=False, cap=math.inf)
    due = NOW + at.delivery
    hopeless = int(np.searchsorted(lane.deadlines, due + at.curve.seconds(1)))
    rest = lane.waiting - hopeless
    fits = 0 < rest <= at.sizes.most and due + at.curve.seconds(rest) <= lane.deadlines[hopeless]
    decision = decide(lane, at, NOW)
    if fits and isinstance(decision, Close):
        assert (decision.portion.skip, decision.portion.taken) == (hopeless, rest)


@given(views(), situations())
def test_without_spare_room_nothing_is_set_aside(lane: LaneView, at: Situation) -> None:
    decision = decide(lane, at._replace(spare=False), NOW)
    if isinstance(decision, Close):
        assert decision.portion.skip == 0


@given(views(), situations())
def test_who_need_not_be_late_comes_before_who_is(lane: LaneView, at: Situation) -> None:
    at = at._replace(spare=True, give_up=False, crowded=False, draining=False)
    decision = decide(lane, at, NOW)
    late = int((lane.deadlines < NOW).sum())
    possible = lane.deadlines >= NOW + at.delivery + at.curve.seconds(1)
    if isinstance(decision, Close) and possible.any():
        portion = decision.portion
        # Whoever is late takes no place from others: they stay behind, or all go together.
        assert portion.skip == late or portion.size == lane.waiting + lane.aside


def test_claims_are_given_up_on_a_busy_device_of_known_speed_alone() -> None:
    curve = LatencyCurve(fixed=0.005, each=0.0001)
    # Batches of 500 take 55 ms: nine thousand claims a second at most.
    assert worth_giving_up(curve, 0.1, 7_000.0, 500, 0.2)
    assert not worth_giving_up(curve, 0.1, 6_000.0, 500, 0.2)
    assert not worth_giving_up(curve, 0.5, 9_000.0, 500, 0.2)
    # Within 20 ms batches of 50 are all that fits beside waiting for them: five thousand.
    assert worth_giving_up(curve, 0.1, 6_000.0, 500, 0.02)
    assert not worth_giving_up(curve, 0.1, 3_000.0, 500, 0.02)


def test_gives_each_reason() -> None:
    curve = LatencyCurve(fixed=0.005, each=0.0001)

    def reason(lane: LaneView, **more: bool) -> CloseReason | None:
        decision = decide(lane, situation(curve, **more), NOW)
        return decision.reason if isinstance(decision, Close) else None

    assert reason(view([1.0] * 40)) is CloseReason.SIZE
    assert reason(view([1.0] * 3, rate=1_000.0), draining=True) is CloseReason.DRAIN
    assert reason(view([1.0] * 3, rate=10.0)) is CloseReason.IDLE
    assert reason(view([0.0055] * 3, rate=1_000.0)) is CloseReason.DEADLINE
    assert reason(view([-1.0] * 3)) is CloseReason.LATE
    assert reason(view([1.0] * 3, aside=1), crowded=True) is CloseReason.LATE
    assert reason(view([1.0] * 3, rate=1_000.0)) is None


def test_waits_one_arrival_gap_or_as_long_as_nobody_has_come() -> None:
    at = situation(LatencyCurve(0.1, 0.0))
    assert decide(view([1.0], rate=500.0), at, NOW) == Wait(pytest.approx(NOW + 0.002))
    silent = LaneView(0, NOW + np.array([1.0]), 500.0, 0.01, NOW)
    assert decide(silent, at, NOW) == Wait(pytest.approx(NOW + 0.01))


def test_gives_up_the_oldest_where_serving_them_would_make_all_late() -> None:
    curve = LatencyCurve(fixed=0.005, each=0.0001)
    # A claim a tenth of a millisecond, the oldest due in 5.2 ms: a batch from there holds two.
    lane = view([0.0052 + 0.0001 * n for n in range(300)], rate=9_000.0)
    decision = decide(lane, situation(curve, most=512), NOW)
    assert isinstance(decision, Close)
    # To keep up with nine thousand a second takes batches of 450; the largest that can be on time takes every second.
    assert decision.portion.skip in (149, 150)
    assert decision.portion.taken in (150, 151)
    kept = decide(lane, situation(curve, target=2, most=512, spare=False), NOW)
    assert kept == Close(Portion(0, 2), CloseReason.DEADLINE)
    enough = decide(lane, situation(curve, target=32, most=512, spare=False), NOW)
    assert enough == Close(Portion(0, 32), CloseReason.LATE)


@given(curves, st.floats(1.0, 1e5), st.floats(0.01, 1.0), st.integers(1, 512))
@example(LatencyCurve(0.005, 0.0001), 9_000.0, 0.067, 512)
@example(LatencyCurve(0.005, 0.0001), 20_000.0, 0.067, 512)
@example(LatencyCurve(0.010, 0.0001), 9_000.0, 0.067, 512)
def test_what_is_given_up_for_keeps_up_or_is_the_best_on_time(
    curve: LatencyCurve, rate: float, budget: float, most: int
) -> None:
    assume(budget > 2 * curve.fixed and curve.fixed > 1e-6)
    seconds = worth_waiting_for(curve, rate, budget, most)
    count = (seconds - curve.fixed) / curve.each
    assert seconds <= curve.seconds(most) + 1e-9
    keeps_up = count >= rate * seconds * (1 - 1e-6)
    # All that came while the oldest waited, and it ends just in time.
    oldest = count / rate
    in_time = oldest + seconds == pytest.approx(budget, rel=1e-6)
    bounded = seconds == pytest.approx(curve.seconds(most)) or seconds == pytest.approx(curve.fixed / 0.15)
    assert keeps_up or in_time or bounded
    assert oldest + seconds <= budget * (1 + 1e-6) or bounded


@given(curves, rates, st.floats(0.01, 1.0), st.floats(0, 1.5), st.floats(0, 0.1))
def test_beside_other_lanes_a_batch_is_worth_as_much_time_or_more(
    curve: LatencyCurve, rate: float, budget: float, busy: float, fixed: float
) -> None:
    alone = worth_waiting_for(curve, rate, budget, 64)
    beside = worth_waiting_for(curve, rate, budget, 64, Demand(fixed, busy))
    assert alone <= beside <= curve.seconds(64)


def test_lanes_that_keep_up_together_score_what_comes_in_a_round() -> None:
    one, other = LatencyCurve(0.005, 0.000_1), LatencyCurve(0.002, 0.000_2)
    first = worth_waiting_for(one, 4_000.0, 10.0, 10_000, demand(other, 1_000.0, 10.0))
    second = worth_waiting_for(other, 1_000.0, 10.0, 10_000, demand(one, 4_000.0, 10.0))
    assert one.fitting(first) == pytest.approx(4_000.0 * (first + second), abs=1)
    assert other.fitting(second) == pytest.approx(1_000.0 * (first + second), abs=1)


def test_late_claims_fill_room_that_is_left_and_leave_time_for_who_comes() -> None:
    curve = LatencyCurve(fixed=0.005, each=0.0001)
    assert decide(view([0.0090] * 10, aside=100), situation(curve, target=64), NOW) == Close(
        Portion(0, 10, 30), CloseReason.IDLE
    )
    # Alone, they take half of what a claim that comes meanwhile can wait: of 195 ms of 200 at no arrivals.
    alone = decide(view([], rate=0.0, aside=5_000), situation(curve, most=4_000), NOW)
    assert alone == Close(Portion(0, 0, 925), CloseReason.LATE)


@given(curves, rates, st.integers(1, 100), st.integers(0, 1_000), st.floats(0, 1))
def test_sizes_stay_within_their_limits(
    curve: LatencyCurve, rate: float, smallest: int, more: int, pressure: float
) -> None:
    limits = SizeLimits(smallest, smallest + more)
    found = sizes(curve, rate, limits, pressure=pressure)
    assert smallest <= found.target <= found.most <= smallest + more
    harder = sizes(curve, rate, limits, pressure=min(1.0, pressure + 0.1))
    assert harder.most <= found.most
    assert harder.target <= found.target
    held = sizes(curve, rate, limits, pressure=pressure, ceiling=7)
    assert 1 <= held.target <= held.most <= 7


@given(curves, st.floats(1.0, 1e5))
def test_the_target_is_the_smallest_that_keeps_up(curve: LatencyCurve, rate: float) -> None:
    limits = SizeLimits(1, 100_000)
    target = sizes(curve, rate, limits).target
    most = sizes(curve, rate, limits).most
    if target < most:
        assert target >= rate * curve.seconds(target) * (1 - 1e-9)
    if target > 2:
        assert target - 1 <= rate * curve.seconds(target - 1) * (1 + 1e-9)


def test_the_most_is_where_more_claims_a_second_hardly_come() -> None:
    limits = SizeLimits(1, 100_000)
    curve = LatencyCurve(0.005, 0.0001)
    most = sizes(curve, 0.0, limits).most
    assert most / curve.seconds(most) == pytest.approx(0.97 / curve.each, rel=1e-3)
    assert sizes(curve, 0.0, SizeLimits(32, 512)).most == 512
    assert sizes(LatencyCurve(0.0, 0.001), 0.0, SizeLimits(32, 512)) == Sizes(32, 32)
    assert sizes(curve, 50.0, SizeLimits(32, 512, automatic=False)) == Sizes(512, 512)


def test_pressure_shrinks_down_to_the_smallest() -> None:
    curve, limits = LatencyCurve(0.005, 0.0001), SizeLimits(32, 512)
    assert [sizes(curve, 9_500.0, limits, pressure=p) for p in (0.0, 0.5, 1.0)] == [
        Sizes(512, 512),
        Sizes(256, 256),
        Sizes(32, 32),
    ]


@given(curves, st.floats(1.0, 1e5), st.floats(0, 1))
def test_no_pressure_takes_away_what_keeps_up(curve: LatencyCurve, rate: float, pressure: float) -> None:
    limits = SizeLimits(1, 512)
    free = sizes(curve, rate, limits)
    pressed = sizes(curve, rate, limits, pressure=pressure)
    assert pressed.target == free.target or free.target == free.most


def test_nothing_known_of_a_model_means_large_batches() -> None:
    assert sizes(LatencyCurve(0.0, 0.0), 50.0, SizeLimits(32, 512)) == Sizes(512, 512)


@given(st.integers(1, 1_000), st.floats(0, 20), st.floats(0.1, 16), st.floats(0, 200), st.integers(1, 500))
def test_the_simple_rule_is_the_formula(
    base: int, available: float, total: float, load: float, smallest: int
) -> None:
    limits = SizeLimits(smallest, smallest + 100)
    expected = max(
        smallest,
        min(int(base * min(available / total, 1) * max(0.3, 1 - load / 100)), smallest + 100),
    )
    assert size_by_load(base, DeviceLoad(available, total, load), limits) == expected


@pytest.mark.parametrize(
    ("curve", "rate", "budget", "seconds"),
    [
        (LatencyCurve(0.001, 0.0001), 5_000.0, 0.067, 0.001 / (1 - 0.5)),
        (LatencyCurve(0.005, 0.0001), 9_000.0, 0.050, 0.005 + 0.9 * 0.045 / 1.9),
        (LatencyCurve(0.001, 0.00005), 30_000.0, 0.067, 0.001 / 0.15),
        (LatencyCurve(0.010, 0.00001), 1e6, 1.0, 0.010 + 512 * 0.00001),
    ],
    ids=["keeps up", "most on time", "hardly faster", "largest"],
)
def test_what_claims_are_given_up_for(
    curve: LatencyCurve, rate: float, budget: float, seconds: float
) -> None:
    assert worth_waiting_for(curve, rate, budget, 512) == pytest.approx(seconds)


def test_a_lone_claim_after_silence_waits_no_longer_than_it_pays() -> None:
    silent = LaneView(0, NOW + np.array([1.0]), 100.0, 0.030, NOW)
    decision = decide(silent, situation(LatencyCurve(0.035, 0.0)), NOW)
    assert decision == Wait(pytest.approx(NOW + 0.005))


@given(
    st.floats(1.0, 1e7),
    st.floats(0.0, 0.05),
    st.floats(1e-4, 0.05),
    st.floats(0.0, 1e-3),
    st.integers(1, 8),
)
@example(100.0, 0.0, 0.005, 0.0001, 4)
def test_who_asks_again_when_it_was_told_to_comes_to_an_end(
    last: float, after: float, fixed: float, each: float, taken: int
) -> None:
    """Nobody comes any more: on a clock that jumps to each moment named, a batch closes soon."""
    at, now = situation(LatencyCurve(fixed, each)), last + after
    for _ in range(40):
        lane = LaneView(0, last + np.full(taken, 10.0), 1e6, now - last, last)
        decision = decide(lane, at, now)
        if isinstance(decision, Close):
            return
        assert decision.until > now
        now = decision.until
    raise AssertionError("it was to wait again and again")
