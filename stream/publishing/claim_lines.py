"""Lines of many claims in columns, before they become Arrow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream.publishing.catalog import Floats, Integers


@dataclass(frozen=True, slots=True)
class Lines:
    """One entry a line. `claim` is a row of the block; `place` orders the lines of a claim."""

    claim: Integers
    procedure: Integers
    revenue: Integers
    units: Floats
    charge: Floats
    place: Floats

    def __len__(self) -> int:
        return len(self.claim)

    def take(self, rows: Integers) -> Lines:
        return Lines(
            self.claim[rows],
            self.procedure[rows],
            self.revenue[rows],
            self.units[rows],
            self.charge[rows],
            self.place[rows],
        )

    def in_order(self) -> Lines:
        return self.take(np.lexsort((self.place, self.claim)))


def join(*parts: Lines) -> Lines:
    return Lines(
        np.concatenate([part.claim for part in parts]),
        np.concatenate([part.procedure for part in parts]),
        np.concatenate([part.revenue for part in parts]),
        np.concatenate([part.units for part in parts]),
        np.concatenate([part.charge for part in parts]),
        np.concatenate([part.place for part in parts]),
    )


def first_of(keys: Integers) -> Integers:
    """Rows that hold the first occurrence of their key, ascending."""
    return np.sort(np.unique(keys, return_index=True)[1])


def rank_within(owners: Integers, count: int) -> Integers:
    """0, 1, 2 … of each entry among those of its owner; `owners` is ascending, below `count`."""
    starts = np.searchsorted(owners, np.arange(count))
    return np.arange(len(owners)) - starts[owners]
