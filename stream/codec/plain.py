"""Rows of columns as Python's own values, to show them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def plain_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Each row as a dictionary. A date or time beyond Python's stays the number that Avro has for it."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except (OverflowError, ValueError):
        names = batch.schema.names
        rows = [
            {name: _plain(column[row]) for name, column in zip(names, batch.columns, strict=True)}
            for row in range(batch.num_rows)
        ]
    return rows


def _plain(scalar: Any) -> Any:
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.StructScalar):
        return {name: _plain(value) for name, value in scalar.items()}
    if isinstance(scalar, pa.MapScalar):
        return [(_plain(entry["key"]), _plain(entry["value"])) for entry in scalar.values]
    if isinstance(scalar, pa.ListScalar):
        return [_plain(value) for value in scalar.values]
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return scalar.value
