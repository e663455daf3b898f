"""The reference reader: one record at a time, exact to the byte. fastavro reads and resolves what was walked."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from decimal import Context
from typing import Any
from uuid import UUID

import fastavro
import pyarrow as pa

from stream.codec.shapes import Schema, Shape
from stream.codec.walk import Walker
from stream.errors import DecodeError

Convert = Callable[[Any], Any]

_EXACT = Context(prec=1_000)
_DAY = {"time-millis": 86_400_000, "time-micros": 86_400_000_000}


class Reference:
    """Reads one record of a writer schema as the columns of a reader schema want it."""

    def __init__(self, writer: Schema, reader: Schema, writer_shape: Shape, reader_shape: Shape) -> None:
        self._walker = Walker(writer_shape)
        self._writer = fastavro.parse_schema(raw(writer))
        self._reader = fastavro.parse_schema(raw(reader)) if reader_shape != writer_shape else None
        self._convert = conversion(reader_shape)
        self._name = writer_shape.full_name

    def read(self, value: bytes, start: int) -> dict[str, Any]:
        """The record from byte `start` on. Raises DecodeError unless it is one and ends where the value ends."""
        self._walker.check(value, start)
        source = io.BytesIO(value)
        source.seek(start)
        try:
            record = fastavro.schemaless_reader(source, self._writer, self._reader)
            converted: dict[str, Any] = self._convert(record)
        except Exception as error:
            # The walk found sound bytes, so this is resolution or a logical type; fastavro's errors share no base.
            reason = f"{type(error).__name__}: {error}"
            raise DecodeError(f"a {self._name} that does not fit the reader schema: {reason}") from error
        return converted


def to_batch(records: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Converted records as columns."""
    columns = [pa.array([record[field.name] for record in records], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def raw(schema: Schema) -> Schema:
    """The schema without logical types: values stay what the bytes say, and Arrow gives them their meaning."""
    if isinstance(schema, list):
        return [raw(branch) for branch in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: value for key, value in schema.items() if key != "logicalType"}
    for key in ("type", "items", "values"):
        if key in kept:
            kept[key] = raw(kept[key])
    if "fields" in kept:
        kept["fields"] = [{**field, "type": raw(field["type"])} for field in kept["fields"]]
    return kept


def conversion(shape: Shape) -> Convert:
    """What makes of fastavro's value, or of a JSON default, the one from which pyarrow builds the column."""
    if shape.logical == "decimal":
        return _decimal(shape)
    if shape.logical == "uuid" and shape.kind == "string":
        return _uuid
    if shape.logical in _DAY:
        return _time(_DAY[shape.logical])
    if shape.kind in ("bytes", "fixed"):
        return _bytes
    if shape.kind in ("float", "double"):
        # An integer, as a default may be, is refused by pyarrow where it is not exact; Avro rounds it.
        return float
    if not shape.parts:
        return _same
    parts = [conversion(part) for part in shape.parts]
    if shape.kind == "record":
        return _record(dict(zip(shape.names, parts, strict=True)))
    return {"nullable": _nullable, "array": _array, "map": _map}[shape.kind](parts[0])


def _same(value: Any) -> Any:
    return value


def _bytes(value: bytes | str) -> bytes:
    """A default in JSON stands for bytes by its code points."""
    return value.encode("latin-1") if isinstance(value, str) else value


def _uuid(value: str) -> bytes:
    return UUID(value).bytes


def _time(day: int) -> Convert:
    def convert(value: int) -> int:
        if not 0 <= value < day:
            raise ValueError(f"{value} is no time of day")
        return value

    return convert


def _decimal(shape: Shape) -> Convert:
    def convert(value: bytes | str) -> Any:
        number = _EXACT.create_decimal(int.from_bytes(_bytes(value), "big", signed=True))
        if len(number.as_tuple().digits) > shape.precision:
            raise ValueError(f"{number} has more than {shape.precision} digits")
        return number.scaleb(-shape.scale, _EXACT)

    return convert


def _record(parts: Mapping[str, Convert]) -> Convert:
    return lambda value: {name: convert(value[name]) for name, convert in parts.items()}


def _nullable(part: Convert) -> Convert:
    return lambda value: None if value is None else part(value)


def _array(part: Convert) -> Convert:
    return lambda value: [part(item) for item in value]


def _map(part: Convert) -> Convert:
    return lambda value: [(key, part(item)) for key, item in value.items()]
