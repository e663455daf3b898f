"""Which lane goes first, and how long the others leave it."""

from __future__ import annotations

import math

from hypothesis import assume, given
from hypothesis import strategies as st

from stream.lane_order import Urgency, turns

NOW, PATIENCE = 100.0, 0.2


@st.composite
def urgencies(draw: st.DrawFn) -> Urgency:
    behind = draw(st.booleans())
    late = st.floats(NOW - 1.0, NOW) if behind else st.floats(NOW, NOW + 1.0)
    return Urgency(
        draw(st.one_of(late, st.just(math.inf))),
        behind,
        worth=draw(st.floats(0.001, 0.1)),
        since=draw(st.floats(NOW - 0.5, NOW)),
        head_start=draw(st.sampled_from([0.0, 0.0, 0.05])),
    )


lanes = st.lists(urgencies(), min_size=1, max_size=6)


@given(lanes)
def test_every_lane_has_one_turn(lanes: list[Urgency]) -> None:
    assert sorted(turn.place for turn in turns(lanes, NOW, PATIENCE)) == list(range(len(lanes)))


@given(lanes)
def test_nobody_goes_on_beyond_the_start_of_a_lane_that_can_be_on_time(lanes: list[Urgency]) -> None:
    for turn in turns(lanes, NOW, PATIENCE):
        mine = lanes[turn.place]
        starts = [
            other.start
            for other in lanes
            if other is not mine and not other.behind and other.head_start >= mine.head_start
        ]
        allowed = min(starts, default=math.inf) - NOW
        assert turn.cap == (max(allowed, mine.worth) if mine.behind else allowed)


@given(lanes)
def test_a_lane_behind_has_time_for_a_batch_that_is_worth_it(lanes: list[Urgency]) -> None:
    assert all(
        turn.cap >= lanes[turn.place].worth
        for turn in turns(lanes, NOW, PATIENCE)
        if lanes[turn.place].behind
    )


@given(lanes)
def test_who_can_be_on_time_makes_way_only_for_a_batch_that_leaves_it_so_or_for_who_waited_too_long(
    lanes: list[Urgency],
) -> None:
    lanes = [lane._replace(head_start=0.0) for lane in lanes]
    longest = max((lane.worth for lane in lanes if lane.behind), default=0.0)
    order = [lanes[turn.place] for turn in turns(lanes, NOW, PATIENCE)]
    for place, lane in enumerate(order):
        for later in order[place + 1 :]:
            if lane.behind and not later.behind:
                assert NOW + longest <= later.start or lane.since + PATIENCE <= later.start
            if not lane.behind and not later.behind:
                assert lane.start <= later.start


@given(lanes)
def test_lanes_behind_take_turns(lanes: list[Urgency]) -> None:
    lanes = [lane._replace(head_start=0.0) for lane in lanes]
    order = [lanes[turn.place] for turn in turns(lanes, NOW, PATIENCE)]
    waited = [lane.since for lane in order if lane.behind]
    assert waited == sorted(waited)


@given(lanes)
def test_who_was_passed_over_for_too_long_goes_before_all_who_can_wait(lanes: list[Urgency]) -> None:
    behind = [lane for lane in lanes if lane.behind and lane.since + PATIENCE < NOW]
    assume(behind)
    order = [
        lanes[turn.place] for turn in turns([lane._replace(head_start=0.0) for lane in lanes], NOW, PATIENCE)
    ]
    assert order[0].behind


@given(lanes)
def test_nobody_waits_for_whom_a_lane_behind_would_leave_no_time(lanes: list[Urgency]) -> None:
    longest = max((lane.worth for lane in lanes if lane.behind), default=0.0)
    for turn in turns(lanes, NOW, PATIENCE):
        assert turn.now_or_late == (lanes[turn.place].start < NOW + longest)
