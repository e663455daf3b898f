"""Parts by time: whole days, in order, nothing lost, both classes in each."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import TrainingError
from models.time_split import split

EPOCH = date(1970, 1, 1)

claims = st.lists(st.tuples(st.integers(14_000, 14_060), st.booleans()), max_size=30)


@given(st.sets(st.integers(14_000, 14_060), min_size=12), claims, st.data())
def test_days_stay_whole_and_in_order(
    filled: set[int], more: list[tuple[int, bool]], data: st.DataObject
) -> None:
    last = data.draw(st.one_of(st.none(), st.sampled_from(sorted(filled)[8:])))
    # A day of one class may be a whole part, which is refused.
    every = filled | {day for day, _ in more}
    claims = [*more, *((day, positive) for day in every for positive in (True, False))]
    days = np.array([day for day, _ in claims])
    labels = np.array([positive for _, positive in claims], np.float32)
    test_from = None if last is None else EPOCH + timedelta(last)
    found = split(days, labels, test_from)
    parts = (found.train, found.validation, found.test)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(claims)))
    assert days[found.train].max() < days[found.validation].min()
    assert days[found.validation].max() < days[found.test].min()
    assert days[found.test].min() >= (found.test_from - EPOCH).days > days[found.validation].max()
    assert test_from is None or test_from == found.test_from
    assert all(set(labels[part]) == {0.0, 1.0} for part in parts)


def test_the_latest_fifth_measures() -> None:
    found = split(np.arange(100)[::-1], (np.arange(100) % 2).astype(np.float32))
    assert [len(part) for part in (found.train, found.validation, found.test)] == [68, 12, 20]
    assert found.test.max() == 19
    assert (found.validation_from, found.test_from) == (date(1970, 3, 10), date(1970, 3, 22))


def test_a_day_of_one_class_that_is_a_whole_part_is_named() -> None:
    days = np.array([*([14_008] * 3), *sorted([*range(14_000, 14_008), *range(14_009, 14_013)] * 2)])
    labels = np.array([0, 0, 0, *([0, 1] * 12)], np.float32)
    said = "the validation part, from 2008-05-09 to before 2008-05-10, has 0 positive of 3"
    with pytest.raises(TrainingError, match=said):
        split(days, labels, EPOCH + timedelta(14_009))


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("1969-01-01", "the train part, before 1969-01-01, has 0 positive of 0"),
        ("1971-01-01", "the test part, from 1971-01-01 on, has 0 positive of 0"),
    ],
)
def test_a_part_without_both_classes_is_named(last: str, said: str) -> None:
    with pytest.raises(TrainingError, match=f"{said}.*--test-from"):
        split(np.arange(100), (np.arange(100) % 2).astype(np.float32), date.fromisoformat(last))
