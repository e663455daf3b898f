"""Rows of a file as text, each accounted for: what every reader of files gives to a mapping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.publishing.arrow_calls import Column, booleans, column, compute
from stream.publishing.mapping import FileFormat
from stream.publishing.rejects import Reject

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Details:
    """The file that gave each row its line, and the row of that file; 0 where there is none."""

    file: str
    numbers: Numbers


@dataclass(frozen=True, slots=True)
class RawRows:
    """Trimmed texts of the well-formed rows, null where empty, and the rows that are not well-formed.

    `numbers` are the rows' lines (CSV counts from 1, header included; JSON lines from 1) or, of Avro and Parquet,
    their places from 1. `lost` are the ids of claims that a damaged row belongs to, each with that row.
    `unread` are the file's columns that are not among `columns`.
    """

    columns: Mapping[str, Column]
    numbers: Numbers
    rejects: tuple[Reject, ...]
    details: Details | None = None
    lost: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return len(self.numbers) + len(self.rejects)

    def place(self, row: int) -> str:
        """Where a row's line comes from, if that is another file: to be put behind a reason."""
        if self.details is None or not self.details.numbers[row]:
            return ""
        return f" ({self.details.file} row {self.details.numbers[row]})"


def settled(
    texts: Mapping[str, Column],
    numbers: Numbers,
    rejects: Sequence[Reject],
    layout: FileFormat,
    headers: Mapping[str, str] | None = None,
) -> RawRows:
    """Trims, empties what stands for nothing, and sets aside blank rows and rows that repeat `headers`.

    `headers` is the name in the file of each column.
    """
    trimmed = {name: _trimmed(values, layout) for name, values in texts.items()}
    blank = np.ones(len(numbers), dtype=np.bool_)
    for values in trimmed.values():
        blank &= booleans(values.is_null())
    repeated = _repeated(trimmed, headers or {}, len(numbers)) & ~blank
    found = [
        *rejects,
        *(Reject(int(row), "", "blank row") for row in numbers[blank]),
        *(Reject(int(row), "", "the header again") for row in numbers[repeated]),
    ]
    lost = {reject.claim_id: f"row {reject.row}" for reject in reversed(rejects) if reject.claim_id}
    kept = ~(blank | repeated)
    filled = column(kept)
    return RawRows(
        columns={name: values.filter(filled) for name, values in trimmed.items()},
        numbers=numbers[kept],
        rejects=tuple(sorted(found, key=lambda reject: reject.row)),
        lost=lost,
    )


def id_among(cells: Iterable[str | None], layout: FileFormat) -> str:
    """The first cell of a damaged row that is filled, of those that may hold its claim's id; empty where none is."""
    texts = ((cell or "").strip() for cell in cells)
    return next((text for text in texts if text and text not in layout.nulls), "")


def text_column(values: Sequence[str | None]) -> Column:
    return column(values, pa.string())


def _trimmed(values: Column, layout: FileFormat) -> Column:
    text = compute.utf8_trim_whitespace(values)
    empty = compute.is_in(text, value_set=pa.array(["", *layout.nulls], type=pa.string()))
    built: Column = compute.if_else(empty, pa.scalar(None, pa.string()), text)
    return built


def _repeated(texts: Mapping[str, Column], headers: Mapping[str, str], count: int) -> npt.NDArray[np.bool_]:
    """Rows in which every column holds its own header."""
    same = np.full(count, bool(headers))
    for name, header in headers.items():
        alike = compute.equal(compute.utf8_lower(texts[name]), header.strip().lower())
        same &= booleans(compute.fill_null(alike, False))
        if not same.any():
            break
    return same
