"""A file of rows that a mapping makes claims of, as claim_event batches.

The whole file is read and grouped before the first claim is given out: rows of one claim may stand anywhere
in it, and a fault in its last line shall show before anything is published. Only mapped columns are held.
A claim with a rejected row is rejected whole, because a claim that lacks a line would be another claim.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.publishing.arrow_calls import Column, booleans, column, compute
from stream.publishing.assembly import Assembly
from stream.publishing.claim_source import BATCH_ROWS, Counts
from stream.publishing.fields import Fields
from stream.publishing.grouping import NO_CLAIM, Groups, claim_numbers, disagreeing, group, siblings_of
from stream.publishing.joining import read_joined
from stream.publishing.mapping import Mapping
from stream.publishing.raw_rows import RawRows, text_column
from stream.publishing.rejects import Reject

REQUIRED = ("claim_type", "member_id")


@dataclass(frozen=True, slots=True)
class ClaimsFile:
    """Everything of one file: `claims` is one batch of any length, `rows` where each began in the file.

    `ignored` are the file's columns that nothing is read from, its outcomes aside.
    """

    claims: pa.RecordBatch
    rows: npt.NDArray[np.int64]
    counts: Counts
    rejects: tuple[Reject, ...]
    ignored: tuple[str, ...] = ()

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        for start in range(0, self.claims.num_rows, rows):
            end = min(start + rows, self.claims.num_rows)
            yield self.claims.take(column(np.arange(start, end)))


def load_claims(path: Path, mapping: Mapping) -> ClaimsFile:
    """Reads, checks and groups `path`. Raises UsageError for a file that does not fit the mapping."""
    return _Loading(read_joined(path, mapping), mapping).load()


class _Loading:
    """One file on its way from rows to claims."""

    def __init__(self, raw: RawRows, mapping: Mapping) -> None:
        self._raw = raw
        self._mapping = mapping
        self._fields = Fields(raw.columns, len(raw.numbers))
        self._ids = self._fields.texts(mapping.claim.claim_id, "claim.claim_id")
        self._numbers = claim_numbers(self._ids)

    def load(self) -> ClaimsFile:
        assembly = Assembly(self._mapping, self._fields, self._ids)
        self._fields.faults.add(self._numbers == NO_CLAIM, lambda _: self._absent("claim_id"))
        self._reject_incomplete()
        self._reject_claims(assembly)
        self._reject_siblings()
        kept = self._rejected_rows()
        groups = group(self._numbers, assembly.order, kept)
        rejects = self._rejects()
        counts = Counts(
            rows=self._raw.total,
            claims=groups.count,
            rejected=len(rejects),
            merged=len(groups.rows) - groups.count,
        )
        return ClaimsFile(assembly.build(groups), self._beginnings(groups), counts, rejects, self._raw.unread)

    def _reject_claims(self, assembly: Assembly) -> None:
        """Faults that show only when a claim's rows are seen together."""
        groups = group(self._numbers, assembly.order, self._rejected_rows())
        required = {name: assembly.texts[name] for name in REQUIRED}
        for row, name in disagreeing(groups, required).items():
            self._fields.faults.reasons.setdefault(row, f"claim.{name} differs from the claim's other rows")
        lacking: list[tuple[str, np.ndarray[tuple[int], np.dtype[np.bool_]]]] = [
            (name, booleans(groups.first_filled(values).is_null())) for name, values in required.items()
        ]
        lacking.append(("service_date", groups.earliest(*assembly.service)[1]))
        for name, absent in lacking:
            for row in groups.rows[absent[groups.claims]]:
                self._fields.faults.reasons.setdefault(int(row), self._absent(name))

    def _reject_incomplete(self) -> None:
        """Claims that a damaged row belongs to."""
        source, lost = self._mapping.claim.claim_id, self._raw.lost
        texts = text_column(list(lost))
        ids = Fields(dict.fromkeys(source.columns, texts), len(lost)).texts(source, "claim.claim_id")
        places = compute.fill_null(compute.index_in(self._ids, value_set=ids.drop_null()), NO_CLAIM)
        said = [row for row, named in zip(lost.values(), ids.to_pylist(), strict=True) if named is not None]
        place = places.to_numpy(zero_copy_only=False)
        self._fields.faults.add(
            place != NO_CLAIM, lambda row: f"{said[place[row]]} of the same claim is rejected"
        )

    def _reject_siblings(self) -> None:
        faults = self._fields.faults
        for row, faulty in siblings_of(self._numbers, faults.rows()).items():
            faults.reasons[row] = f"row {self._raw.numbers[faulty]} of the same claim is rejected"

    def _beginnings(self, groups: Groups) -> npt.NDArray[np.int64]:
        """The first row of each claim, as it is numbered in the file."""
        first = np.full(groups.count, np.iinfo(np.int64).max)
        np.minimum.at(first, groups.claims, self._raw.numbers[groups.rows])
        return first

    def _absent(self, name: str) -> str:
        source = getattr(self._mapping.claim, name)
        return f"claim.{name}: nothing in {', '.join(source.columns)}"

    def _rejected_rows(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        rejected = np.zeros(len(self._raw.numbers), dtype=np.bool_)
        rejected[self._fields.faults.rows()] = True
        return rejected

    def _rejects(self) -> tuple[Reject, ...]:
        own = [
            Reject(int(self._raw.numbers[row]), _text(self._ids, row), reason + self._raw.place(row))
            for row, reason in self._fields.faults.reasons.items()
        ]
        return tuple(sorted([*self._raw.rejects, *own], key=lambda reject: reject.row))


def _text(values: Column, row: int) -> str:
    return str(values[row].as_py() or "")
