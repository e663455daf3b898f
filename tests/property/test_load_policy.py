"""When the load of an absent model begins."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stream.load_policy import AbsentLane, LoadReason, due

seconds = st.floats(0.0, 10.0)
lanes = st.builds(
    AbsentLane,
    lane=st.just(0),
    since=seconds,
    deadline=seconds,
    load=st.floats(0.001, 5.0),
    compute=st.floats(0.0, 0.5),
    room=st.booleans(),
)


def begins(lane: AbsentLane) -> float:
    """The moment at which the load begins when it is asked for whenever the policy says."""
    now = lane.since
    for _ in range(10):
        decision = due(lane, now)
        if isinstance(decision, LoadReason):
            return now
        assert decision > now
        now = decision
    raise AssertionError("it never begins")


@given(lanes)
def test_where_there_is_room_it_begins_at_once(lane: AbsentLane) -> None:
    assert due(replace(lane, room=True), lane.since) is LoadReason.ROOM


@given(lanes)
def test_what_can_be_on_time_gathers_and_is_begun_in_time(lane: AbsentLane) -> None:
    crowded = replace(lane, room=False)
    if lane.since + lane.compute + 1.25 * lane.load < lane.deadline:
        assert due(crowded, lane.since) == begins(crowded)
        assert begins(crowded) + lane.load + lane.compute <= lane.deadline


@given(lanes)
def test_what_cannot_waits_no_longer_than_a_load_takes(lane: AbsentLane) -> None:
    crowded = replace(lane, room=False)
    if lane.since + lane.compute + 1.25 * lane.load >= lane.deadline:
        assert begins(crowded) == lane.since + lane.load


@given(lanes, seconds)
def test_a_drain_waits_for_nothing(lane: AbsentLane, later: float) -> None:
    assert isinstance(due(lane, lane.since + later, draining=True), LoadReason)
