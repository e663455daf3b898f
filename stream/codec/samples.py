"""Made-up claims of a schema, to try on them what will have to read real ones."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa


def sample_claims(schema: pa.Schema, count: int) -> pa.RecordBatch:
    """`count` equal claims: zeros, empty texts, one item in each list and map."""
    columns = [pa.array([_sample(field.type)] * count, field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _sample(kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind):
        return {field.name: _sample(field.type) for field in kind}
    if pa.types.is_map(kind):
        return [("", _sample(kind.item_type))]
    if pa.types.is_list(kind):
        return [_sample(kind.value_type)]
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
