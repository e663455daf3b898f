"""Claims that fail their model stand alone after few forwards; too many of them stop the stage before they go out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import ColumnShape, DeviceError
from stream.arena import ClaimArena
from stream.clock import ManualClock
from stream.errors import FatalError
from stream.letter_limit import LetterLimit, LetterRules
from stream.records import CloseReason, MicroBatch
from stream.scoring import Scorer

ERRORS = (RuntimeError, ValueError, KeyError, TypeError, AssertionError, FloatingPointError, IndexError)


class Fussy:
    """Raises for batches with any of the poisonous numbers, or that are too large; counts forwards by claim."""

    identity = SimpleNamespace(name="fussy")
    spec_digest = "spec"

    def __init__(
        self, poison: Collection[int], infinite: Collection[int], most: int, error: type[Exception]
    ) -> None:
        self._poison, self._infinite, self._most, self._error = list(poison), list(infinite), most, error
        self.forwards = 0
        self.seen: Counter[int] = Counter()

    def score(self, features: Any) -> npt.NDArray[np.float32]:
        numbers = features["number"]
        self.forwards += 1
        self.seen.update(numbers.tolist())
        if len(numbers) > self._most:
            raise MemoryError
        if np.isin(numbers, self._poison).any():
            raise self._error("no")
        return np.where(np.isin(numbers, self._infinite), np.inf, numbers / 1_000).astype(np.float32)

    def decide(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
        return (scores > 0.5).astype(np.int8)


def scored(size: int, model: Fussy) -> tuple[set[int], set[int], Scorer]:
    """Scores `size` claims numbered from zero; those scored and those failed."""
    arena = ClaimArena(size, 1)
    arena.add_spec("spec", {"number": ColumnShape((), np.dtype(np.int64))})
    scorer = Scorer(arena, ManualClock())
    rows = np.arange(size, dtype=np.int32)
    arena.store_features("spec", rows, {"number": rows})
    outcome = scorer.score(MicroBatch(0, rows, CloseReason.SIZE), model)  # type: ignore[arg-type]
    np.testing.assert_allclose(arena.score[outcome.rows, 0], outcome.rows / 1_000)
    assert list(outcome.rows) == sorted(outcome.rows)
    return set(outcome.rows.tolist()), {failure.row for failure in outcome.failures}, scorer


def test_a_device_that_fails_costs_no_claim_and_ends_the_worker() -> None:
    with pytest.raises(FatalError, match="fussy cannot go on: no"):
        scored(8, Fussy({3}, set(), 8, DeviceError))


@pytest.mark.parametrize("size", [1, 8])
def test_no_memory_for_a_single_claim_costs_no_claim_and_ends_the_worker(size: int) -> None:
    with pytest.raises(FatalError, match="fussy has no memory for a single claim"):
        scored(size, Fussy(set(), set(), 0, ValueError))


@given(data=st.data(), size=st.integers(1, 512), error=st.sampled_from(ERRORS))
def test_culprits_stand_alone_within_the_bound(data: Any, size: int, error: type[Exception]) -> None:
    poison = data.draw(st.sets(st.integers(0, size - 1), max_size=size))
    infinite = data.draw(st.sets(st.integers(0, size - 1), max_size=3)) - poison
    model = Fussy(poison, infinite, size, error)
    good, bad, scorer = scored(size, model)
    assert (good, bad) == (set(range(size)) - poison - infinite, poison | infinite)
    assert model.forwards - 1 <= 2 * len(poison) * math.log2(size)
    assert model.forwards - 1 <= 2 * size - 2
    assert max(model.seen.values()) <= math.log2(size) + 2
    assert scorer.ceilings == {}


@given(data=st.data(), size=st.integers(1, 300))
def test_what_is_only_too_large_loses_no_claim(data: Any, size: int) -> None:
    most = data.draw(st.integers(1, size))
    poison = data.draw(st.sets(st.integers(0, size - 1), max_size=4))
    good, bad, scorer = scored(size, Fussy(poison, (), most, ValueError))
    assert (good, bad) == (set(range(size)) - poison, poison)
    if not poison and most < size:
        assert most / 2 < scorer.ceilings[0] + 1 <= most + 1


@given(
    rules=st.builds(LetterRules, st.floats(0, 1), st.integers(1, 50)),
    portions=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40),
    recounted=st.booleans(),
)
def test_stops_exactly_when_the_share_in_the_window_is_exceeded(
    rules: LetterRules, portions: list[tuple[int, int]], recounted: bool
) -> None:
    limit = LetterLimit(rules)

    def stops(letters: int, results: int) -> bool:
        """Also where all were taken for results at first."""
        if not recounted:
            return limit.check({"DecodeError": letters}, results) is not None
        limit.check({}, letters + results)
        return limit.recount({"OversizeError": letters}) is not None

    for end, (letters, results) in enumerate(portions, 1):
        window, records = [], 0
        for portion in reversed(portions[:end]):
            window.append(portion)
            records += sum(portion)
            if records >= rules.window:
                break
        full = records >= rules.window
        exceeded = full and sum(each[0] for each in window) > rules.share * records
        assert stops(letters, results) == exceeded


def test_the_reason_says_what_and_what_to_do() -> None:
    reason = LetterLimit(LetterRules(0.25, 100)).check({"ScoringError": 2, "DecodeError": 40}, 58)
    assert reason is not None
    assert reason.startswith("42 of the last 100 records are dead letters (DecodeError 40, ScoringError 2)")
    assert "limits.dead_letter_share 0.25" in reason


def test_a_share_of_one_lets_all_through() -> None:
    limit = LetterLimit(LetterRules(1.0, 10))
    assert all(limit.check({"DecodeError": 100}, 0) is None for _ in range(20))


class Slow(Fussy):
    """The same, whose forwards take time."""

    def __init__(self, clock: ManualClock, seconds: float, poison: Collection[int]) -> None:
        super().__init__(poison, (), 512, ValueError)
        self._clock, self._seconds = clock, seconds

    def score(self, features: Any) -> npt.NDArray[np.float32]:
        self._clock.advance(self._seconds)
        return super().score(features)


@settings(max_examples=25)
@given(data=st.data(), size=st.integers(1, 512), seconds=st.floats(0.001, 2.0))
def test_a_batch_that_fails_slowly_is_decided_in_steps_of_bounded_time(
    data: Any, size: int, seconds: float
) -> None:
    poison = data.draw(st.sets(st.integers(0, size - 1), min_size=size // 2))
    patience, clock = 1.0, ManualClock()
    arena = ClaimArena(size, 1)
    arena.add_spec("spec", {"number": ColumnShape((), np.dtype(np.int64))})
    rows = np.arange(size, dtype=np.int32)
    arena.store_features("spec", rows, {"number": rows})
    scorer, model = Scorer(arena, clock, patience), Slow(clock, seconds, poison)
    good: list[int] = []
    bad: list[int] = []
    while len(rows):
        started = clock.now()
        outcome = scorer.score(MicroBatch(0, rows, CloseReason.SIZE), model)  # type: ignore[arg-type]
        assert clock.now() - started <= max(patience, (math.log2(len(rows)) + 1) * seconds) + seconds + 1e-6
        assert len(outcome.unscored) < len(rows)
        assert list(outcome.unscored) == sorted(outcome.unscored)
        good += outcome.rows.tolist()
        bad += [failure.row for failure in outcome.failures]
        rows = outcome.unscored
    assert (sorted(good), sorted(bad)) == (sorted(set(range(size)) - poison), sorted(poison))
    assert (arena.hop[good] == 1).all()
    assert scorer.ceilings == {}


def test_a_size_that_memory_did_not_allow_is_tried_again_after_ten_minutes() -> None:
    _, _, scorer = scored(64, model := Fussy((), (), 16, ValueError))
    assert scorer.ceilings == {0: 16}
    batch = MicroBatch(0, np.arange(16, dtype=np.int32), CloseReason.SIZE)
    clock: ManualClock = scorer._clock  # type: ignore[assignment]
    clock.advance(599.0)
    scorer._arena.hop[:] = 0
    scorer.score(batch, model)  # type: ignore[arg-type]
    scorer._arena.hop[:] = 0
    assert scorer.ceilings == {0: 16}
    clock.advance(2.0)
    scorer.score(batch, model)  # type: ignore[arg-type]
    assert scorer.ceilings == {}


@pytest.mark.parametrize("error", [KeyError, MemoryError])
def test_what_fails_before_the_model_is_no_fault_of_the_claims(error: type[Exception]) -> None:
    arena = ClaimArena(8, 1)

    def failing(*_: object) -> Any:
        raise error

    arena.gather = failing  # type: ignore[method-assign]
    scorer = Scorer(arena, ManualClock())
    with pytest.raises(error):
        scorer.score(
            MicroBatch(0, np.arange(8, dtype=np.int32), CloseReason.SIZE),
            Fussy((), (), 8, ValueError),  # type: ignore[arg-type]
        )
    assert scorer.ceilings == {}
