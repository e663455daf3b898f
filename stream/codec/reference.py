"""The reference reader: fastavro, one record at a time, exact to the byte."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pyarrow as pa

from stream.codec.shapes import Schema
from stream.errors import DecodeError


class ReferenceReader:
    """Reads one record of a writer schema as the reader schema wants it."""

    def __init__(self, writer: Schema, reader: Schema) -> None:
        self._writer = fastavro.parse_schema(writer)
        self._reader = fastavro.parse_schema(reader) if reader != writer else None

    def read(self, payload: bytes) -> dict[str, Any]:
        """The record. Raises DecodeError for bytes that are not one, or that go on after its end."""
        source = io.BytesIO(payload)
        try:
            record: dict[str, Any] = fastavro.schemaless_reader(source, self._writer, self._reader)
        except EOFError as error:
            raise DecodeError(f"the record ends too early, after {len(payload)} bytes") from error
        except UnicodeDecodeError as error:
            raise DecodeError(f"a string before byte {source.tell()} is not UTF-8: {error.reason}") from error
        except Exception as error:
            # fastavro raises whatever the damaged bytes lead it to: IndexError, OverflowError, ValueError, struct.error ...
            raise DecodeError(f"not a {self._writer.get('name')} near byte {source.tell()}: {error!r}") from error
        if source.tell() != len(payload):
            raise DecodeError(f"{len(payload) - source.tell()} bytes follow the record's end at byte {source.tell()}")
        return record


def to_batch(records: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Reference records as columns of the given Arrow schema."""
    columns = [
        pa.array([_arrowed(record[field.name], field.type) for record in records], field.type) for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _arrowed(value: Any, kind: pa.DataType) -> Any:
    """Avro maps are dictionaries; Arrow wants pairs."""
    if value is None:
        return None
    if pa.types.is_map(kind):
        return [(key, _arrowed(item, kind.item_type)) for key, item in value.items()]
    if pa.types.is_list(kind):
        return [_arrowed(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: _arrowed(value[field.name], field.type) for field in kind}
    return value
