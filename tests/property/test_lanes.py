"""Lanes: every row leaves once, the earliest deadline first, whatever is set aside meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.lanes import Lane, Lanes, Portion, RowQueue, Seniority

pushes = st.lists(st.integers(0, 40), min_size=1, max_size=12).map(lambda slots: ("push", slots))
takes = st.tuples(st.just("take"), st.tuples(st.integers(0, 15), st.integers(0, 15), st.integers(0, 15)))
moves = st.lists(st.one_of(pushes, takes, st.just(("empty", None))), max_size=40)


@given(moves)
def test_every_row_leaves_exactly_once(script: list[tuple[str, object]]) -> None:
    lane, pushed, taken = Lane(0), 0, []
    for now, (move, value) in enumerate(script):
        if move == "push":
            deadlines = np.array(value, float)
            lane.push(np.arange(pushed, pushed + len(deadlines), dtype=np.int32), deadlines, float(now))
            pushed += len(deadlines)
        elif move == "take":
            skip, count, aside = value  # type: ignore[misc]
            view = lane.view(float(now))
            skip = min(skip, view.waiting)
            portion = Portion(skip, min(count, view.waiting - skip), min(aside, view.aside))
            rows = lane.take(portion, float(now)).tolist()
            assert len(rows) == portion.size
            taken += rows
        else:
            taken += lane.empty().tolist()
        assert len(lane) == pushed - len(taken)
    assert sorted(taken + lane.empty().tolist()) == list(range(pushed))


@given(st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=12))
def test_the_earliest_deadline_is_first_and_equal_ones_keep_their_order(polls: list[list[int]]) -> None:
    queue, expected = RowQueue(), []
    for poll in polls:
        rows = np.arange(len(expected), len(expected) + len(poll), dtype=np.int32)
        queue.push(rows, np.array(poll, float))
        expected += list(zip(poll, rows.tolist(), strict=True))
    rows, deadlines = queue.take(1_000)
    assert list(zip(deadlines.tolist(), rows.tolist(), strict=True)) == sorted(expected)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 30)), max_size=12))
def test_a_view_stays_as_it_was(polls: list[tuple[int, int]]) -> None:
    queue, seen = RowQueue(), []
    for count, deadline in polls:
        queue.push(np.arange(count, dtype=np.int32), np.full(count, float(deadline)))
        seen.append((queue.moments, queue.moments.copy()))
        queue.take(count // 2)
    assert all((view == copy).all() for view, copy in seen)


def test_what_was_set_aside_is_told_and_joins_later_batches() -> None:
    lane = Lane(3)
    lane.push(np.arange(6, dtype=np.int32), np.arange(6.0), 1.0)
    assert lane.take(Portion(2, 1), 1.5).tolist() == [2]
    view = lane.view(2.0)
    assert (view.lane, view.waiting, view.aside, view.aside_since, view.deadline) == (3, 3, 2, 1.5, 1.5)
    assert lane.take(Portion(0, 2, 1), 2.5).tolist() == [3, 4, 0]
    assert lane.view(3.0).deadline == 1.5


def test_who_is_set_aside_now_may_fill_the_same_batch_behind_who_was_before() -> None:
    lane = Lane(0)
    lane.push(np.arange(6, dtype=np.int32), np.arange(6.0), 1.0)
    assert lane.take(Portion(1, 1), 1.5).tolist() == [1]
    assert lane.take(Portion(2, 2, 2), 2.0).tolist() == [4, 5, 0, 2]
    assert (lane.waiting, lane.view(2.5).aside) == (0, 1)


def test_a_lane_waits_since_it_was_last_served() -> None:
    lane, rows, deadlines = Lane(0), np.arange(4, dtype=np.int32), np.full(4, 9.0)
    lane.push(rows, deadlines, 1.0)
    lane.push(rows, deadlines, 2.0)
    assert lane.view(3.0).since == 1.0
    lane.take(Portion(0, 4), 3.5)
    assert lane.view(4.0).since == 3.5
    lane.take(Portion(0, 4), 5.0)
    lane.push(rows, deadlines, 7.0)
    assert lane.view(8.0).since == 7.0


def test_a_lane_is_late_since_its_first_claim_came_or_was_due() -> None:
    lane, rows = Lane(0), np.arange(2, dtype=np.int32)
    assert lane.view(0.0).late_since == np.inf
    lane.push(rows, np.full(2, 0.5), 1.0)
    lane.push(rows, np.full(2, 3.0), 2.0)
    assert lane.view(4.0).late_since == 1.0
    lane.take(Portion(1, 0), 4.0)
    assert lane.view(4.0).late_since == 1.0
    lane.take(Portion(0, 1), 4.0)
    assert (lane.view(4.0).waiting_since, lane.view(4.0).late_since) == (2.0, 3.0)
    lane.empty()
    assert lane.view(4.0).late_since == np.inf
    lane.push(rows, np.full(2, 0.5), 5.0)
    assert lane.view(6.0).late_since == 5.0


@given(st.lists(st.one_of(st.integers(0, 5), st.integers(-8, 0)), max_size=40))
def test_the_first_of_a_queue_has_waited_since_it_came(script: list[int]) -> None:
    seniority, waiting = Seniority(), list[float]()
    for moment, count in enumerate(script):
        if count > 0:
            seniority.come(count, float(moment))
            waiting += [float(moment)] * count
        else:
            seniority.leave(-count)
            waiting = waiting[-count:]
        assert seniority.since == (waiting[0] if waiting else np.inf)


def test_only_lanes_with_claims_are_looked_at_and_what_is_aside_is_not_ahead() -> None:
    lanes = Lanes(2)
    lanes.push(1, np.arange(5, dtype=np.int32), np.arange(5.0), 0.0)
    lanes.take(1, Portion(3, 1), 0.0)
    assert [view.lane for view in lanes.views(0.0)] == [1]
    assert lanes.ahead(0.0) == 1
    assert lanes.empty(1).tolist() == [0, 1, 2, 4]
    assert lanes.views(0.0) == []


def test_a_lane_to_which_nobody_comes_any_more_does_not_keep_intake_reading() -> None:
    lanes, rows = Lanes(2), np.arange(5, dtype=np.int32)
    lanes.push(0, rows[:1], np.zeros(1), 0.0)
    lanes.take(0, Portion(0, 1), 0.0)
    lanes.push(1, rows, np.arange(5.0), 0.0)
    assert lanes.ahead(1.9) == 0
    assert lanes.ahead(2.1) == 5
    lanes.push(0, rows[:1], np.zeros(1), 3.0)
    assert lanes.ahead(3.1) == 1
    lanes.take(0, Portion(0, 1), 3.1)
    assert lanes.ahead(3.2) == 0


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 5_000])
def test_a_queue_grows_as_it_has_to(count: int) -> None:
    queue = RowQueue()
    for start in range(0, count, 100):
        rows = np.arange(start, min(start + 100, count), dtype=np.int32)
        queue.push(rows, rows.astype(float))
    assert queue.take(count)[0].tolist() == list(range(count))
