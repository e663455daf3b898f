"""A poll of Kafka values to Arrow columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyruhvro

from stream.codec.framing import (
    CONFLUENT_HEADER,
    CONFLUENT_MAGIC,
    SINGLE_OBJECT_HEADER,
    SINGLE_OBJECT_MAGIC,
    confluent_schema_id,
    single_object_prefix,
)
from stream.codec.registry import SchemaSource
from stream.codec.shapes import check_bounded
from stream.codec.writers import Read, WriterReader, joined
from stream.errors import DecodeError, OversizeError, RecordError

DEFAULT_RECORD_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Failure:
    """A value that is not a claim: its row among those given, and why."""

    row: int
    error: RecordError


@dataclass(frozen=True, slots=True)
class Decoded:
    """Columns of the good values, the row of each among those given (ascending), and the failures."""

    claims: pa.RecordBatch
    rows: npt.NDArray[np.int64]
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class _Framed:
    """How a value is to be read: which writer, and where its payload begins."""

    reader: WriterReader
    header: int


class Decoder:
    """Reads values of known writers into the columns of one reader schema.

    A value that begins as a framed one, but fits none, is read as bare when a bare schema is configured.
    """

    def __init__(
        self,
        reader_schema: dict[str, Any],
        *,
        bare_schema: dict[str, Any] | None = None,
        known_writers: Sequence[dict[str, Any]] = (),
        registry: SchemaSource | None = None,
        max_record_bytes: int = DEFAULT_RECORD_BYTES,
    ) -> None:
        check_bounded(reader_schema, reader_schema["name"])
        self._reader = reader_schema
        self.arrow_schema: pa.Schema = pyruhvro.avro_to_arrow_schema(json.dumps(reader_schema))
        self._prefix = single_object_prefix(reader_schema)
        self._by_prefix = {
            single_object_prefix(writer): _Framed(self._for(writer), SINGLE_OBJECT_HEADER)
            for writer in (reader_schema, *known_writers)
        }
        self._own = self._by_prefix[self._prefix]
        self._bare = _Framed(self._for(bare_schema), 0) if bare_schema is not None else None
        self._registry = registry
        self._by_id: dict[int, _Framed] = {}
        self._limit = max_record_bytes

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Raises RetryError, with nothing decoded, while a schema registry is needed and cannot be reached."""
        whole = [v for v in values if v is not None and v.startswith(self._prefix) and len(v) <= self._limit]
        if len(whole) == len(values) and whole:
            read = self._own.reader.read([value[SINGLE_OBJECT_HEADER:] for value in whole])
            return _decoded(read)
        return self._mixed(values)

    def _mixed(self, values: Sequence[bytes | None]) -> Decoded:
        failures: list[tuple[int, RecordError]] = []
        groups: dict[int, tuple[_Framed, list[int]]] = {}
        for row, value in enumerate(values):
            try:
                framed = self._framed(value)
            except RecordError as error:
                failures.append((row, error))
                continue
            groups.setdefault(id(framed), (framed, []))[1].append(row)
        reads = [self._group(framed, rows, values) for framed, rows in groups.values()]
        return _decoded(joined(reads, self.arrow_schema), failures)

    def _group(self, framed: _Framed, rows: list[int], values: Sequence[bytes | None]) -> Read:
        payloads = [(values[row] or b"")[framed.header :] for row in rows]
        read = framed.reader.read(payloads)
        return Read(read.claims, [rows[p] for p in read.places], [(rows[p], error) for p, error in read.failures])

    def _framed(self, value: bytes | None) -> _Framed:
        if not value:
            raise DecodeError("the value is null, a tombstone" if value is None else "the value is empty")
        if len(value) > self._limit:
            raise OversizeError(f"the value has {len(value)} bytes; limits.record_max_bytes allows {self._limit}")
        found = self._by_prefix.get(value[:SINGLE_OBJECT_HEADER]) or self._from_registry(value) or self._bare
        if found is None:
            raise DecodeError(_unknown(value, registry=self._registry is not None))
        return found

    def _from_registry(self, value: bytes) -> _Framed | None:
        if self._registry is None or not value.startswith(CONFLUENT_MAGIC) or len(value) < CONFLUENT_HEADER:
            return None
        schema_id = confluent_schema_id(value)
        if schema_id not in self._by_id:
            try:
                schema = self._registry.schema(schema_id)
            except DecodeError:
                if self._bare is not None:
                    return self._bare
                raise
            self._by_id[schema_id] = _Framed(self._for(schema), CONFLUENT_HEADER)
        return self._by_id[schema_id]

    def _for(self, writer: dict[str, Any]) -> WriterReader:
        check_bounded(writer, str(writer.get("name")))
        return WriterReader(writer, self._reader, self.arrow_schema)


def _decoded(read: Read, failures: Sequence[tuple[int, RecordError]] = ()) -> Decoded:
    every = sorted([*failures, *read.failures], key=lambda failure: failure[0])
    rows = np.array(read.places, np.int64)
    return Decoded(read.claims, rows, tuple(Failure(row, error) for row, error in every))


def _unknown(value: bytes, *, registry: bool) -> str:
    if value.startswith(SINGLE_OBJECT_MAGIC):
        return f"fingerprint {value[2:SINGLE_OBJECT_HEADER].hex()} is of no known writer; add it to schemas.known_writers"
    if value.startswith(CONFLUENT_MAGIC) and not registry:
        return "the value begins like one of a schema registry; set schemas.registry_url"
    return f"the value begins with {value[:2].hex()}, no known framing; for bare values set schemas.bare"
