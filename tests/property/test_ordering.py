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
    left: list[int] = []
    at = 0
    while at < 40:
        size = data.draw(st.integers(1, 10))
        done = np.array([rows[i] for i in finishing[at : at + size]], np.int32)
        released = order.complete(done).tolist()
        left += released
        at += size
        finished = set(finishing[:at])
        for index in range(40):
            blocked = not exempt[index] and any(
                earlier not in finished and keys[earlier] == keys[index] and not exempt[earlier]
                for earlier in range(index)
            )
            assert (rows[index] in left) == (index in finished and not blocked)
    assert sorted(left) == sorted(rows.tolist())
    assert order.held == 0
    for key in range(6):
        ordered = [row for row, k, e in zip(rows.tolist(), keys, exempt, strict=True) if k == key and not e]
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
