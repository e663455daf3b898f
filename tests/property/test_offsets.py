"""The offset ledger against a plain model of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.offset_metadata import MOST_CHARACTERS, MOST_OFFSETS, NOTHING, read
from stream.offsets import OffsetLedger, PartitionLedger, Standing
from stream.records import Positions


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
        reached = prefix[first_missing - 1] + 1 if first_missing else next(iter(prefix), None)
        assert ledger.committable == reached
        assert ledger.pending == len(prefix) - len(done)
        beyond = {offset for start, stop in ledger.beyond().tolist() for offset in range(start, stop)}
        assert beyond & set(prefix) == {offset for offset in done if offset >= (reached or 0)}


class Owner:
    """Owns a partition whose records lie at `offsets`: reads on from the last commit, completes in any order."""

    def __init__(self, offsets: list[int], standing: Standing | None) -> None:
        runs = read(standing.offset, standing.beyond) if standing else NOTHING
        self.ledger = PartitionLedger(1, runs)
        self.ahead = [offset for offset in offsets if standing is None or offset >= standing.offset]
        self.open: list[int] = []

    def read_on(self, count: int) -> list[int]:
        """What is to be scored of the next records."""
        offsets = np.array(self.ahead[:count])
        fitting = self.ledger.fits(offsets) if len(offsets) else offsets
        assert fitting.any() or self.open or not len(offsets)
        taken = offsets[: int(fitting.sum())]
        fresh = taken[self.ledger.take(taken)].tolist()
        self.ahead = self.ahead[len(taken) :]
        self.open += fresh
        return fresh


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 2_000, 10**9]), st.sampled_from([0.02, 0.5, 0.98]))
def test_each_record_is_scored_once_over_many_owners(seed: int, far: int, share: float) -> None:
    chance = np.random.default_rng(seed)
    offsets = np.cumsum(chance.integers(1, far + 1, 400)).tolist()
    standing: Standing | None = None
    completed: list[int] = []
    while len(completed) < len(offsets):
        owner = Owner(offsets, standing)
        for _ in range(chance.integers(1, 9)):
            owner.read_on(int(chance.integers(1, 300)))
            order = chance.permutation(np.array(owner.open, np.int64))
            done = np.sort(order[: int(share * len(order)) + 1])
            owner.open = np.setdiff1d(order, done).tolist()
            foreseen = owner.ledger.standing(done)
            owner.ledger.complete(done)
            assert owner.ledger.standing() == foreseen
            assert owner.ledger.pending == len(owner.open)
            completed += done.tolist()
            if (standing := owner.ledger.standing() or standing) is not None:
                assert len(standing.beyond) <= MOST_CHARACTERS
    assert sorted(completed) == offsets


def test_a_partition_is_not_taken_further_than_its_metadata_can_tell() -> None:
    owner = Owner(list(range(200_000)), None)
    owner.read_on(1)
    owner.read_on(100_000)
    assert len(owner.open) == MOST_OFFSETS
    assert owner.read_on(1) == []
    assert not owner.ledger.roomy
    owner.ledger.complete(np.arange(1, MOST_OFFSETS, 2))
    standing = owner.ledger.standing()
    assert standing is not None
    assert (standing.offset, len(standing.beyond)) == (0, MOST_CHARACTERS)
    owner.ledger.complete(np.arange(0, 20_001, 2))
    assert owner.ledger.roomy
    assert owner.read_on(20_002) == list(range(MOST_OFFSETS, MOST_OFFSETS + 20_002))


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([0, 100, 164, 240]), st.sampled_from([1, 500, 50_000]))
def test_where_nothing_is_pending_a_record_fits_whatever_was_removed_meanwhile(
    seed: int, count: int, far: int
) -> None:
    chance = np.random.default_rng(seed)
    runs = 10 + np.cumsum(chance.integers(1, 30, 2 * count)).reshape(-1, 2)
    ledger = PartitionLedger(1, runs)
    ledger.take(np.array([9]))
    ledger.complete(np.array([9]))
    begin = int(runs[chance.integers(count), 0]) if count and chance.random() < 0.5 else 10 + 70 * count
    offsets = begin + np.cumsum(chance.integers(1, far + 1, 300))
    while len(offsets):
        fits = int(ledger.fits(offsets).sum())
        assert fits > 0
        taken, offsets = offsets[:fits], offsets[fits:]
        fresh = taken[ledger.take(taken)]
        assert ledger.standing() is None or len(ledger.standing().beyond) <= MOST_CHARACTERS  # type: ignore[union-attr]
        foreseen = ledger.standing(fresh[1::2])
        assert foreseen is None or len(foreseen.beyond) <= MOST_CHARACTERS
        ledger.complete(fresh)


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
    assert ledger.committable() == {0: Standing(3), 1: Standing(10)}
    ledger.committed({0: Standing(3)})
    assert ledger.committable() == {1: Standing(10)}
    assert ledger.committable([0]) == {}
    ledger.uncommitted([0])
    assert ledger.committable([0]) == {0: Standing(3)}


def test_knows_what_is_not_owned() -> None:
    ledger = OffsetLedger()
    ledger.assign([2])
    assert ledger.epochs(np.array([2, 3])).tolist() == [1, 0]
    ledger.take(np.array([3]), np.array([1]), np.array([0]))
    assert ledger.pending() == 0


@given(st.integers(0, 2**32), st.sampled_from([1, 3, 2_000]))
def test_what_is_given_up_is_not_waited_for_and_the_next_owner_scores_it(seed: int, far: int) -> None:
    chance = np.random.default_rng(seed)
    offsets = np.cumsum(chance.integers(1, far + 1, 200)).tolist()
    completed: list[int] = []
    standing: Standing | None = None
    for _ in range(3):
        owner = Owner(offsets, standing)
        begun = owner.read_on(int(chance.integers(1, 40)))
        owner.ledger.give_up(np.array(owner.read_on(int(chance.integers(1, 40))), np.int64))
        assert owner.ledger.pending == len(begun)
        done = [offset for offset in begun if chance.random() < 0.8]
        owner.ledger.complete(np.array(done, np.int64))
        assert owner.ledger.pending == len(begun) - len(done)
        completed += done
        standing = owner.ledger.standing() or standing
    last = Owner(offsets, standing)
    assert sorted([*completed, *last.read_on(len(offsets))]) == offsets


def test_refuses_to_give_up_what_is_complete() -> None:
    ledger = PartitionLedger(epoch=1)
    ledger.take(np.array([5, 7]))
    ledger.complete(np.array([5]))
    with pytest.raises(ValueError, match="is complete"):
        ledger.give_up(np.array([5, 7]))
    assert ledger.pending == 1


def test_a_partition_that_goes_and_comes_back_is_foreseen_before_or_not_at_all() -> None:
    """It is looked at once: before every further look it is another assignment."""
    ledger = OffsetLedger()
    ledger.assign([0])
    zeros, offsets = np.zeros(3, np.int64), np.arange(3)
    epochs = ledger.epochs(zeros)
    ledger.take(zeros, offsets, epochs)
    lock, looks = ledger._lock, []

    class Moving:
        def __enter__(self) -> None:
            lock.acquire()
            looks.append(None)
            if len(looks) > 1:
                ledger._partitions.clear()
                ledger._begin(0, np.empty((0, 2), np.int64))

        def __exit__(self, *_: object) -> None:
            lock.release()

    ledger._lock = Moving()  # type: ignore[assignment]
    assert ledger.foreseen(Positions(zeros, offsets, epochs)) == {0: Standing(3)}
    assert ledger.foreseen(Positions(zeros, offsets, epochs)) is None
