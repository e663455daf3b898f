"""Rows of one claim find each other: which claim each row belongs to, in which order, and which fall out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream.publishing.arrow_calls import Column, booleans, column, compute
from stream.publishing.claim_lines import first_of

NO_CLAIM = -1


@dataclass(frozen=True, slots=True)
class Groups:
    """`rows` are the kept rows, ordered by claim and within it by line; `claims[i]` is the claim of rows[i].

    Claims count from 0 in the order of their first row in the file.
    """

    rows: npt.NDArray[np.int64]
    claims: npt.NDArray[np.int64]
    count: int

    def first_filled(self, values: Column) -> Column:
        """Of each claim the first value that is not null; null where all are."""
        ordered = values.take(column(self.rows))
        filled = np.flatnonzero(booleans(ordered.is_valid()))
        heads = filled[first_of(self.claims[filled])]
        index = np.zeros(self.count, dtype=np.int64)
        index[self.claims[heads]] = heads
        missing = np.ones(self.count, dtype=np.bool_)
        missing[self.claims[heads]] = False
        return ordered.take(column(index, mask=missing))

    def earliest(
        self, days: npt.NDArray[np.int64], missing: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The least of each claim's days, and which claims have none."""
        least = np.full(self.count, np.iinfo(np.int64).max)
        known = ~missing[self.rows]
        np.minimum.at(least, self.claims[known], days[self.rows[known]])
        absent = least == np.iinfo(np.int64).max
        return np.where(absent, 0, least), absent


def claim_numbers(claim_ids: Column) -> npt.NDArray[np.int64]:
    """Each row's claim by order of first appearance, NO_CLAIM where the id is null."""
    indices = claim_ids.dictionary_encode().indices
    numbers: npt.NDArray[np.int64] = compute.fill_null(indices, NO_CLAIM).to_numpy(zero_copy_only=False)
    return numbers.astype(np.int64)


def group(
    numbers: npt.NDArray[np.int64], order: npt.NDArray[np.float64], rejected: npt.NDArray[np.bool_]
) -> Groups:
    """Groups of the rows that are not `rejected`; equal orders keep the file's order."""
    kept = np.flatnonzero(~rejected)
    distinct, claims = np.unique(numbers[kept], return_inverse=True)
    arranged = np.lexsort((order[kept], claims))
    return Groups(kept[arranged], claims[arranged], len(distinct))


def siblings_of(numbers: npt.NDArray[np.int64], faulty: npt.NDArray[np.int64]) -> dict[int, int]:
    """Rows that share a claim with a faulty row and are not faulty themselves, each with that faulty row."""
    named = faulty[numbers[faulty] != NO_CLAIM]
    heads = {int(numbers[row]): int(row) for row in named[::-1]}
    touched = np.flatnonzero(np.isin(numbers, list(heads)))
    return {int(row): heads[int(numbers[row])] for row in np.setdiff1d(touched, faulty)}


def disagreeing(groups: Groups, fields: Mapping[str, Column]) -> dict[int, str]:
    """Rows whose value of a claim-level field is another than their claim's, with the field's key."""
    found: dict[int, str] = {}
    for key, values in fields.items():
        own = values.take(column(groups.rows))
        common = groups.first_filled(values).take(column(groups.claims))
        differs = booleans(compute.fill_null(compute.not_equal(own, common), False))
        for row in groups.rows[differs]:
            found.setdefault(int(row), key)
    return found
