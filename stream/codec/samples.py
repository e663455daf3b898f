"""Made-up claims of a schema, to try on them what will have to read real ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

from stream.codec.shapes import Shape


def sample_claims(schema: pa.Schema, shape: Shape, count: int, nulls: int | None = None) -> pa.RecordBatch:
    """`count` equal claims: zeros, empty texts, one item in each list and map.

    `nulls`: instead null wherever the Avro schema, whose `shape` it is, allows one within so many others that it
    allows. Arrow's schema does not say that of what is nested.
    """
    columns = [
        pa.array([_sample(field.type, part, nulls)] * count, field.type)
        for field, part in zip(schema, shape.parts, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def samples(schema: pa.Schema, shape: Shape, counts: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """So many claims at a time, without a null and with each that the schema allows."""
    for count in counts:
        for nulls in (None, *range(_null_depth(shape))):
            yield sample_claims(schema, shape, count, nulls)


def _null_depth(shape: Shape) -> int:
    return max(map(_null_depth, shape.parts), default=0) + (shape.kind == "nullable")


def _sample(kind: pa.DataType, shape: Shape, nulls: int | None) -> Any:
    if shape.kind == "nullable":
        return None if nulls == 0 else _sample(kind, shape.parts[0], None if nulls is None else nulls - 1)
    if pa.types.is_struct(kind):
        return {
            field.name: _sample(field.type, part, nulls)
            for field, part in zip(kind, shape.parts, strict=True)
        }
    if pa.types.is_map(kind):
        return [("", _sample(kind.item_type, shape.parts[0], nulls))]
    if pa.types.is_list(kind):
        return [_sample(kind.value_type, shape.parts[0], nulls)]
    return next((value for fits, value in _VALUES if fits(kind)), None)


_VALUES = (
    (pa.types.is_string, ""),
    (pa.types.is_boolean, False),
    (pa.types.is_integer, 0),
    (pa.types.is_floating, 0.0),
    (pa.types.is_date, date(1970, 1, 1)),
    (pa.types.is_timestamp, datetime(1970, 1, 1)),  # noqa: DTZ001 - columns have no time zone
    (pa.types.is_time, time()),
    (pa.types.is_decimal, Decimal(0)),
)
