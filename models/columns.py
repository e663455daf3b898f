"""Nested Arrow columns as flat numpy arrays; slices are honoured, and no item of one claim reaches another's result.

Null has one meaning wherever a reader schema allows it: a list or map without entries, an item all of whose fields are
null, an attribute that is not there, the number 0.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.errors import FeatureError

Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


class Lists:
    """A list column: its items, and for each item the claim that it is of."""

    def __init__(self, column: pa.ListArray) -> None:
        column = _filled(column)
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

    def field(self, name: str) -> pa.Array:
        """That field of each item."""
        if not self.items.null_count:
            return self.items.field(name)
        return self.items.flatten()[self.items.type.get_field_index(name)]

    def split(self, values: list[Any]) -> list[list[Any]]:
        """Values, one an item, by claim."""
        ends = np.cumsum(self.counts).tolist()
        return [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def sums(self, values: Numbers) -> Numbers:
        """Sum of the values, one an item, of each claim."""
        # Not differences of a running sum: one claim that is not finite would spoil every claim behind it.
        totals: Numbers = np.bincount(self.claim, values, len(self.counts)).astype(np.float64, copy=False)
        return totals


class Attributes:
    """A map column, by name; of a name that has two values in a claim the last counts, as in Avro libraries' maps."""

    def __init__(self, column: pa.MapArray) -> None:
        column = _filled(column)
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
        last = np.diff(claim, append=-1) != 0
        claim, values = claim[last], self._values.take(pa.array(entries[last]))
        if values.null_count:
            claim = claim[values.is_valid().to_numpy(zero_copy_only=False)]
            values = values.drop_null()
        return claim, values


def same(first: pa.Array, second: pa.Array) -> bool:
    """Whether each value of one goes with one value of the other, so that one of them says nothing more."""
    ours, theirs = (values.dictionary_encode(null_encoding="encode") for values in (first, second))
    if len(ours.dictionary) != len(theirs.dictionary):
        return False
    pairs = ours.indices.to_numpy().astype(np.int64) * len(theirs.dictionary) + theirs.indices.to_numpy()
    return len(np.unique(pairs)) == len(ours.dictionary)


def numbers(column: pa.Array) -> Numbers:
    """A column of numbers as doubles."""
    doubles = column if pa.types.is_float64(column.type) else column.cast(pa.float64(), safe=False)
    values: Numbers = (doubles.fill_null(0.0) if doubles.null_count else doubles).to_numpy()
    return values


def texts(column: pa.Array) -> list[Any]:
    """A column's values. Raises FeatureError for what is no text."""
    check_text(column.type)
    values: list[Any] = column.to_pylist()
    return values


def check_text(kind: pa.DataType) -> None:
    """Raises FeatureError for dates, times and what holds them: Avro's go on where Python's end."""
    if pa.types.is_temporal(kind) or pa.types.is_nested(kind):
        raise FeatureError(f"a text was wanted where the reader schema has {kind}")


def day_numbers(dates: pa.Array) -> pa.Array:
    """Days since 1970, int32: Avro's dates go on where Python's end. Raises FeatureError for what is no date."""
    if pa.types.is_null(dates.type):
        return dates.cast(pa.int32())
    if not pa.types.is_date32(dates.type):
        raise FeatureError(f"a date was wanted where the reader schema has {dates.type}")
    return dates.view(pa.int32())


def days(dates: pa.Array) -> Numbers:
    """Days since 1970; NaN where there is no date. Raises FeatureError for what is no date."""
    values: npt.NDArray[Any] = day_numbers(dates).to_numpy(zero_copy_only=False)
    return values.astype(np.float64)


def _filled(column: Any) -> Any:
    """The same lists; those that are null take no items."""
    return column.take(pa.array(np.arange(len(column)))) if column.null_count else column
