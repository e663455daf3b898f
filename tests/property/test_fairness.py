"""Who gives way to whom among partitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.fairness import Fairness

lags = st.dictionaries(st.integers(0, 20), st.integers(0, 10_000), max_size=12)


@given(st.lists(st.tuples(lags, st.floats(0, 20_000)), min_size=1, max_size=6))
def test_those_who_go_first_can_be_scored_in_time_and_are_behind_by_no_more_than_the_rest(
    judgements: list[tuple[dict[int, int], float]],
) -> None:
    fairness = Fairness()
    for seen, claims in judgements:
        fairness.judge(seen, claims)
    behind, first = fairness.behind, set(seen) - fairness.behind
    assert behind < set(seen) or not behind
    if behind:
        assert sum(seen[each] for each in first) <= claims
        assert max((seen[each] for each in first), default=0) <= min(seen[each] for each in behind)


def test_nobody_gives_way_where_all_are_behind_or_none() -> None:
    fairness = Fairness()
    fairness.judge({0: 9_000, 1: 9_000}, 1_000)
    assert not fairness.behind
    fairness.judge({0: 10, 1: 900}, 1_000)
    assert not fairness.behind
    fairness.judge({0: 10, 1: 9_000}, 1_000)
    assert fairness.behind == {1}
    fairness.judge({0: 10, 1: 600}, 1_000)
    assert fairness.behind == {1}
    fairness.judge({0: 10, 1: 400}, 1_000)
    assert not fairness.behind


def test_who_gives_way_is_read_in_turns() -> None:
    fairness = Fairness()
    fairness.judge({0: 10, 1: 9_000}, 1_000)
    fills = (0.0, 0.44, 0.45, 0.2, 0.15, 0.14, 0.3)
    assert [bool(fairness.yielding(fill, 0.0)) for fill in fills] == [
        *(False, False),
        *(True, True, True),
        *(False, False),
    ]
    fairness.judge({0: 10, 1: 0}, 1_000)
    assert not fairness.yielding(0.9, 0.0)


def test_who_gives_way_has_a_turn_though_others_leave_no_room() -> None:
    fairness = Fairness()
    fairness.judge({0: 10, 1: 9_000}, 1_000)
    assert fairness.yielding(0.5, 0.0)
    assert fairness.yielding(0.4, 0.9)
    # A turn of as much as any other.
    assert not fairness.yielding(0.4, 1.0)
    assert not fairness.yielding(0.69, 1.1)
    assert fairness.yielding(0.71, 1.2)


@given(st.lists(st.floats(0, 1), min_size=30, max_size=60))
def test_nobody_gives_way_for_ever(fills: list[float]) -> None:
    fairness = Fairness()
    fairness.judge({0: 10, 1: 9_000}, 1_000)
    stopped = [bool(fairness.yielding(fill, 0.1 * turn)) for turn, fill in enumerate(fills)]
    assert not any(all(stopped[start : start + 12]) for start in range(len(stopped) - 12))
