"""The offset ledger against a plain model of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.offsets import OffsetLedger, PartitionLedger


@given(st.data())
def test_commits_exactly_the_contiguous_completed_prefix(data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=60))
    offsets = np.cumsum(gaps) + data.draw(st.integers(-1, 10**12))
    ledger = PartitionLedger(epoch=1)
    waiting, done, taken = [], set(), 0
    while taken < len(offsets) or waiting:
        if taken < len(offsets) and (not waiting or data.draw(st.booleans())):
            size = data.draw(st.integers(1, 40))
            ledger.take(offsets[taken : taken + size])
            waiting += offsets[taken : taken + size].tolist()
            taken = min(taken + size, len(offsets))
        else:
            chosen = data.draw(st.sets(st.sampled_from(waiting), min_size=1))
            ledger.complete(np.array(sorted(chosen)))
            waiting = [offset for offset in waiting if offset not in chosen]
            done |= chosen
        prefix = offsets[:taken].tolist()
        first_missing = next((i for i, offset in enumerate(prefix) if offset not in done), len(prefix))
        assert ledger.committable == (prefix[first_missing - 1] + 1 if first_missing else None)
        assert ledger.pending == len(prefix) - first_missing


def test_survives_many_takes_without_growing() -> None:
    ledger = PartitionLedger(epoch=1)
    for start in range(0, 1_000_000, 500):
        offsets = np.arange(start, start + 500)
        ledger.take(offsets)
        ledger.complete(offsets)
    assert ledger.committable == 1_000_000
    assert len(ledger._offsets) <= 4_096


def test_refuses_offsets_that_do_not_ascend() -> None:
    ledger = PartitionLedger(epoch=1)
    ledger.take(np.array([5, 6]))
    with pytest.raises(ValueError, match="do not ascend"):
        ledger.take(np.array([6]))
    ledger.complete(np.array([5, 6]))
    with pytest.raises(ValueError, match="do not ascend"):
        ledger.take(np.array([3]))


def test_refuses_a_completion_of_what_was_never_taken() -> None:
    ledger = PartitionLedger(epoch=1)
    ledger.take(np.array([5, 7]))
    for offset in (4, 6, 8):
        with pytest.raises(ValueError, match="never taken"):
            ledger.complete(np.array([offset]))


def both(ledger: OffsetLedger, partitions: list[int], offsets: list[int]) -> tuple[np.ndarray, ...]:
    numbers = np.array(partitions)
    return numbers, np.array(offsets), ledger.epochs(numbers)


def test_ignores_completions_of_an_older_epoch() -> None:
    ledger = OffsetLedger()
    ledger.assign([0])
    old = both(ledger, [0, 0], [1, 2])
    ledger.take(*old)
    ledger.forget([0])
    ledger.assign([0])
    ledger.take(*both(ledger, [0, 0], [1, 2]))
    ledger.complete(*old)
    assert ledger.committable() == {}
    assert not ledger.current(old[0], old[2]).any()
    assert ledger.pending() == 2


def test_offers_a_commit_once() -> None:
    ledger = OffsetLedger()
    ledger.assign([0, 1])
    records = both(ledger, [0, 1, 0], [1, 9, 2])
    ledger.take(*records)
    ledger.complete(*records)
    assert ledger.committable() == {0: 3, 1: 10}
    ledger.committed({0: 3})
    assert ledger.committable() == {1: 10}
    assert ledger.committable([0]) == {}


def test_knows_what_is_not_owned() -> None:
    ledger = OffsetLedger()
    ledger.assign([2])
    assert ledger.epochs(np.array([2, 3])).tolist() == [1, 0]
    ledger.take(np.array([3]), np.array([1]), np.array([0]))
    assert ledger.pending() == 0
