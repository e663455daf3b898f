"""Key order against its definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.ordering import KeyOrder

CAPACITY = 64


@given(st.data())
def test_every_row_leaves_once_and_each_key_in_input_order(data: st.DataObject) -> None:
    order = KeyOrder(CAPACITY)
    rows = np.array(data.draw(st.permutations(range(CAPACITY)))[:40], np.int32)
    keys = np.array(data.draw(st.lists(st.integers(0, 5), min_size=40, max_size=40)))
    exempt = np.array(data.draw(st.lists(st.booleans(), min_size=40, max_size=40)))
    for start in range(0, 40, 8):
        order.admit(rows[start : start + 8], keys[start : start + 8], exempt[start : start + 8])
    finishing = data.draw(st.permutations(range(40)))
    dropped = data.draw(st.sets(st.integers(0, 39)))
    left: list[int] = []
    at = 0
    while at < 40:
        size = data.draw(st.integers(1, 10))
        done = np.array([rows[i] for i in finishing[at : at + size] if i not in dropped], np.int32)
        gone = np.array([rows[i] for i in finishing[at : at + size] if i in dropped], np.int32)
        released = order.complete(done, gone).tolist()
        left += released
        at += size
        finished = set(finishing[:at])
        for index in range(40):
            blocked = not exempt[index] and any(
                earlier not in finished and keys[earlier] == keys[index] and not exempt[earlier]
                for earlier in range(index)
            )
            may_leave = index in finished and index not in dropped and not blocked
            assert (rows[index] in left) == may_leave
    assert sorted(left) == sorted(rows[index] for index in range(40) if index not in dropped)
    assert order.held == 0
    for key in range(6):
        mine = [n for n in range(40) if keys[n] == key and not exempt[n] and n not in dropped]
        ordered = rows[mine].tolist()
        assert [row for row in left if row in ordered] == ordered


def test_rows_are_used_again() -> None:
    order = KeyOrder(4)
    rows = np.array([0, 1], np.int32)
    for _ in range(3):
        order.admit(rows, np.array([7, 7]), np.array([False, False]))
        assert order.complete(rows[1:]).tolist() == []
        assert order.complete(rows[:1]).tolist() == [0, 1]


def test_different_keys_do_not_wait() -> None:
    order = KeyOrder(4)
    order.admit(np.array([0, 1], np.int32), np.array([1, 2]), np.array([False, False]))
    assert order.complete(np.array([1], np.int32)).tolist() == [1]


def test_a_claim_that_waits_long_keeps_none_of_those_after_it_in_mind() -> None:
    capacity = 4_000
    order = KeyOrder(capacity)
    order.admit(np.array([0], np.int32), np.array([-1]), np.array([False]))
    rows = np.arange(1, 501, dtype=np.int32)
    for turn in range(200):
        order.admit(rows, np.arange(500) + 500 * turn, np.zeros(500, np.bool_))
        assert order.noted <= 2 * 501 + 1_024 + 500
        assert len(order.complete(rows)) == 500
    order.admit(rows[:1], np.array([-1]), np.array([False]))
    assert order.complete(rows[:1]).tolist() == []
    assert order.complete(np.array([0], np.int32)).tolist() == [0, 1]
    assert order.noted == 0


@given(st.data())
def test_order_holds_when_rows_are_given_out_again(data: st.DataObject) -> None:
    """A few rows for many records, as in the arena: whatever leaves is admitted anew with another key."""
    capacity = 12
    order, free = KeyOrder(capacity), list(range(capacity))
    admitted: dict[int, tuple[int, int]] = {}
    inside, left, count = [], [], 0
    for _ in range(data.draw(st.integers(1, 25))):
        more = data.draw(st.integers(0, len(free)))
        if more:
            rows, free = np.array(free[:more], np.int32), free[more:]
            keys = np.array(data.draw(st.lists(st.integers(0, 2), min_size=more, max_size=more)), np.int64)
            order.admit(rows, keys, np.zeros(more, np.bool_))
            for row, key in zip(rows.tolist(), keys.tolist(), strict=True):
                admitted[row] = (count, key)
                inside.append(row)
                count += 1
        done = data.draw(st.permutations(inside)) if inside else []
        done = done[: data.draw(st.integers(0, len(done)))]
        inside = [row for row in inside if row not in done]
        released = order.complete(np.array(done, np.int32)).tolist()
        assert order.noted <= 3 * capacity
        left += [admitted[row] for row in released]
        free += released
    left += [admitted[row] for row in order.complete(np.array(inside, np.int32)).tolist()]
    assert sorted(number for number, _ in left) == list(range(count))
    for key in range(3):
        mine = [number for number, own in left if own == key]
        assert mine == sorted(mine)
