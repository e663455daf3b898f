"""Claims in Parquet: columns named and typed as those of claim_event."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import schemas
from stream.codec.encoder import check_nulls
from stream.codec.plain import plain_rows
from stream.codec.shapes import parse
from stream.errors import UsageError
from stream.publishing.arrow_calls import Column, column
from stream.publishing.claim_checks import accepted
from stream.publishing.claim_schema import claim_schema
from stream.publishing.claim_source import BATCH_ROWS, ClaimRows
from stream.publishing.claim_values import ClaimValues
from stream.publishing.file_kinds import Kind
from stream.publishing.headers import check_claim_fields
from stream.publishing.parquet_rows import parquet
from stream.publishing.rejects import Reject
from stream.publishing.unread import claim_names, names_of_type, unread_names


class ParquetClaims:
    """Looks at the file's schema when it is made. Raises UsageError for columns that are not those of claims."""

    kind = Kind.PARQUET

    def __init__(self, path: Path) -> None:
        self._path = path
        self._schema = claim_schema()
        self._shape = parse(schemas.load("claim_event"))
        self._values = ClaimValues()
        with parquet(path) as file:
            self.expected: int = file.metadata.num_rows
            names = file.schema_arrow.names
            fields = [field for field in file.schema_arrow if field.name in self._schema.names]
            written = {field.name: names_of_type(field.type) for field in file.schema_arrow}
        self._present = [field.name for field in fields]
        self.ignored = tuple(unread_names(written, claim_names()))
        check_claim_fields(path, names)
        self._cast(pa.RecordBatch.from_pylist([], schema=pa.schema(fields)))

    def batches(self) -> Iterator[ClaimRows]:
        first = 1
        with parquet(self._path) as file:
            for written in file.iter_batches(batch_size=BATCH_ROWS, columns=self._present):
                yield self._claims(written, np.arange(first, first + written.num_rows))
                first += written.num_rows

    def _claims(self, written: pa.RecordBatch, rows: npt.NDArray[np.int64]) -> ClaimRows:
        columns = self._cast(written)
        if not self._is_whole(columns):
            return self._one_by_one(self._plain(columns, written), rows)
        claims = pa.RecordBatch.from_arrays(
            [columns[name] for name in self._schema.names], schema=self._schema
        )
        return accepted(claims, rows)

    def _cast(self, written: pa.RecordBatch) -> dict[str, Column]:
        """Columns of the claim's types, but for those in which a value does not fit."""
        columns: dict[str, Column] = {}
        for name in self._present:
            values: Any = written.column(name)
            kind = self._schema.field(name).type
            try:
                columns[name] = values.cast(kind)
            except pa.ArrowNotImplementedError as error:
                raise UsageError(
                    f"{self._path}: the column {name} holds {values.type}, a claim's is {kind} ({error})"
                ) from error
            except pa.ArrowInvalid:
                columns[name] = values
        return columns

    def _is_whole(self, columns: dict[str, Column]) -> bool:
        if any(
            name not in columns or columns[name].type != self._schema.field(name).type
            for name in self._schema.names
        ):
            return False
        try:
            for name, part in zip(self._shape.names, self._shape.parts, strict=True):
                check_nulls(part, columns[name], name)
        except ValueError:
            return False
        return True

    def _plain(self, columns: dict[str, Column], written: pa.RecordBatch) -> list[dict[str, Any]]:
        """Rows as Python's values. Where one does not fit its column's type, the others still do."""
        if all(values.type == self._schema.field(name).type for name, values in columns.items()):
            return plain_rows(pa.RecordBatch.from_pydict(columns))
        # Taken, not sliced: a cast looks at all that lies under a slice of lists.
        alone = [self._cast(written.take(column([place]))) for place in range(written.num_rows)]
        return [plain_rows(pa.RecordBatch.from_pydict(row))[0] for row in alone]

    def _one_by_one(self, plain: list[dict[str, Any]], rows: npt.NDArray[np.int64]) -> ClaimRows:
        """Where values are missing: each row completed with the schema's defaults, or rejected."""
        claims: list[dict[str, Any]] = []
        kept: list[int] = []
        rejects: list[Reject] = []
        for number, row in zip(rows.tolist(), plain, strict=True):
            try:
                claims.append(self._values.read(row))
                kept.append(number)
            except ValueError as error:
                rejects.append(Reject(number, str(row["claim_id"] or ""), str(error)))
        batch = pa.RecordBatch.from_pylist(claims, schema=self._schema)
        return accepted(batch, np.asarray(kept, dtype=np.int64), tuple(rejects))
