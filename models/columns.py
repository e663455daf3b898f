"""Nested Arrow columns as flat numpy arrays; slices are honoured, and no item of one claim reaches another's result."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


class Lists:
    """A list column: its items, and for each item the claim that it is of."""

    def __init__(self, column: pa.ListArray) -> None:
        offsets = column.offsets.to_numpy()
        self._starts: Integers = offsets[:-1] - offsets[0]
        self.counts: Integers = np.diff(offsets)
        self.items: pa.Array = column.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
        self.claim: Integers = np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def place(self) -> Integers:
        """Place of each item in its claim's list, from 0."""
        places: Integers = np.arange(len(self.claim)) - self._starts[self.claim]
        return places

    def sums(self, values: Numbers) -> Numbers:
        """Sum of the values, one an item, of each claim."""
        # Not differences of a running sum: one claim that is not finite would spoil every claim behind it.
        totals: Numbers = np.bincount(self.claim, values, len(self.counts)).astype(np.float64, copy=False)
        return totals


class Attributes:
    """A map column, by name; of a name that occurs twice in a claim the first counts."""

    def __init__(self, column: pa.MapArray) -> None:
        offsets = column.offsets.to_numpy()
        first, count = int(offsets[0]), int(offsets[-1] - offsets[0])
        names = column.keys.slice(first, count).dictionary_encode()
        self._names: dict[str, int] = {name: at for at, name in enumerate(names.dictionary.to_pylist())}
        self._name = names.indices.to_numpy()
        self._values: pa.Array = column.items.slice(first, count)
        self._claim = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))

    def get(self, name: str) -> tuple[Integers, pa.Array]:
        """The claims that have it, ascending, and its value in each."""
        entries = np.flatnonzero(self._name == self._names.get(name, -1))
        claim = self._claim[entries]
        kept = np.diff(claim, prepend=-1) != 0
        return claim[kept], self._values.take(pa.array(entries[kept]))


def same(first: pa.Array, second: pa.Array) -> bool:
    """Whether each value of one goes with one value of the other, so that one of them says nothing more."""
    ours, theirs = (values.dictionary_encode(null_encoding="encode") for values in (first, second))
    if len(ours.dictionary) != len(theirs.dictionary):
        return False
    pairs = ours.indices.to_numpy().astype(np.int64) * len(theirs.dictionary) + theirs.indices.to_numpy()
    return len(np.unique(pairs)) == len(ours.dictionary)


def numbers(column: pa.Array) -> Numbers:
    """A column of doubles."""
    values: Numbers = column.to_numpy(zero_copy_only=False)
    return values


def days(dates: pa.Array) -> Numbers:
    """Days since 1970; NaN where there is no date."""
    values: npt.NDArray[Any] = dates.view(pa.int32()).to_numpy(zero_copy_only=False)
    return values.astype(np.float64)
