"""Arrow columns to Kafka values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyruhvro

from stream.codec.fast import is_fast
from stream.codec.framing import Framing, confluent_prefix, single_object_prefix
from stream.codec.shapes import Shape, parse
from stream.errors import UsageError

binary_join_element_wise: Any = pyarrow.compute.binary_join_element_wise


class Encoder:
    """Encodes whole batches. A batch has exactly the field names, order and types of `arrow_schema`.

    The types: string and enum are string, int and long are int32 and int64, float and double are float32 and
    float64, date is date32, timestamp-millis and -micros are timestamp[ms] and [us] without a time zone, a record
    is a struct, an array a list, a map a map with string keys, a union with null the other type. Raises UsageError
    for a schema with other types, or for Confluent's framing without an id.
    """

    def __init__(
        self, schema: dict[str, Any], framing: Framing = Framing.SINGLE_OBJECT, schema_id: int | None = None
    ) -> None:
        self._shape = parse(schema)
        if self._shape.kind != "record" or not is_fast(self._shape):
            raise UsageError(
                f"schema {self._shape.full_name!r} cannot be written: it is no record, or has bytes, fixed, a union of "
                "several types, a logical type other than date and timestamp, or an enum of more than 64 symbols"
            )
        self._text = json.dumps(schema)
        self.arrow_schema: pa.Schema = pyruhvro.avro_to_arrow_schema(self._text)
        self._types = self.arrow_schema.types
        self._prefix = _prefix(schema, framing, schema_id)

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        """One framed value a row. Raises ValueError for other columns, a null where there is none, no such symbol."""
        if batch.schema.types != self._types or batch.schema.names != self.arrow_schema.names:
            raise ValueError(f"columns {batch.schema} are not those of the schema, {self.arrow_schema}")
        if batch.num_rows == 0:
            return []
        for name, part, column in zip(self._shape.names, self._shape.parts, batch.columns, strict=True):
            check_nulls(part, column, name)
        prefix = self._prefix
        encoded = pyruhvro.serialize_record_batch(_whole(batch), self._text, 1)
        return [prefix + value for array in encoded for value in array.to_pylist()]

    def framed(self, written: pa.Array[Any]) -> list[bytes]:
        """Values of this schema that are encoded already, in a column of bytes, with the frame around each."""
        return list(binary_join_element_wise(self._prefix, written, b"").to_pylist())


def check_nulls(shape: Shape, column: Any, place: str) -> None:
    """Raises ValueError for a null, at any depth, where the schema has none.

    The encoder library writes a nested null as an empty value, so nulls are looked for first.
    """
    if column.null_count:
        if shape.kind != "nullable":
            raise ValueError(f"{place} has {column.null_count} nulls, which the schema does not allow")
        column = column.drop_null()
    inner = shape.parts[0] if shape.kind == "nullable" else shape
    if inner.kind == "record":
        for name, part, child in zip(inner.names, inner.parts, column.flatten(), strict=True):
            check_nulls(part, child, f"{place}.{name}")
    elif inner.kind == "array":
        check_nulls(inner.parts[0], column.flatten(), f"{place}[]")
    elif inner.kind == "map":
        check_nulls(inner.parts[0], _entries(column), f"{place}[]")


def _whole(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The encoder library fails on slices of structs; those columns are copied."""
    columns = [
        column.take(np.arange(len(column))) if _has_sliced_struct(column) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _has_sliced_struct(column: Any) -> bool:
    if pa.types.is_struct(column.type):
        return column.offset != 0 or any(
            map(_has_sliced_struct, map(column.field, range(column.type.num_fields)))
        )
    if pa.types.is_map(column.type):
        return _has_sliced_struct(column.items)
    return pa.types.is_list(column.type) and _has_sliced_struct(column.values)


def _entries(column: Any) -> Any:
    """Values of the maps that a slice shows, not of all in its memory."""
    offsets = column.offsets
    first, end = offsets[0].as_py(), offsets[-1].as_py()
    return column.items.slice(first, end - first)


def _prefix(schema: dict[str, Any], framing: Framing, schema_id: int | None) -> bytes:
    if framing is Framing.BARE:
        return b""
    if framing is Framing.SINGLE_OBJECT:
        return single_object_prefix(schema)
    if schema_id is None:
        raise UsageError("the Confluent framing needs the schema's id in its registry")
    return confluent_prefix(schema_id)
