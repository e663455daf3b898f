"""A poll of Kafka values to Arrow columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyruhvro

from stream.codec.definitions import completed
from stream.codec.framing import (
    CONFLUENT_HEADER,
    CONFLUENT_MAGIC,
    SINGLE_OBJECT_HEADER,
    SINGLE_OBJECT_MAGIC,
    Framing,
    confluent_schema_id,
    single_object_prefix,
)
from stream.codec.learning import LearnedSchemas
from stream.codec.resolution import check_columns
from stream.codec.shapes import parse, readable
from stream.codec.writers import Read, Target, WriterReader, byte_lengths, empty_batch, joined
from stream.errors import DecodeError, OversizeError, RecordError, UsageError

DEFAULT_RECORD_BYTES = 1_000_000
_REFUSED_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Failure:
    """A value that is not a claim: its row among those given, and why (DecodeError or OversizeError)."""

    row: int
    error: RecordError


@dataclass(frozen=True, slots=True)
class Decoded:
    """Columns of the good values, the row of each among those given (ascending), and the failures."""

    claims: pa.RecordBatch
    rows: npt.NDArray[np.int64]
    failures: tuple[Failure, ...]


class Decoder:
    """Reads values of known writers into the columns of one reader schema.

    A value that begins as a framed one, but fits none, is read as bare when a bare schema is configured. Raises
    UsageError for a schema that it cannot read, or a reader schema that has no columns.
    """

    def __init__(
        self,
        reader_schema: dict[str, Any],
        *,
        bare_schema: dict[str, Any] | None = None,
        known_writers: Sequence[dict[str, Any]] = (),
        registry: LearnedSchemas | None = None,
        max_record_bytes: int = DEFAULT_RECORD_BYTES,
    ) -> None:
        self._target = _target(reader_schema)
        self.arrow_schema: pa.Schema = self._target.arrow
        self.shape = self._target.shape
        self._by_fingerprint = {
            prefix: self._reader(writer, Framing.SINGLE_OBJECT, prefix)
            for writer in (reader_schema, *known_writers)
            for prefix in (_fingerprinted(writer),)
        }
        self._bare = None if bare_schema is None else self._reader(bare_schema, Framing.BARE, b"")
        self._registry = registry
        # Without a registry nothing else begins like Confluent's framing.
        self._magics = (SINGLE_OBJECT_MAGIC,) if registry is None else (CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC)
        self._by_id: dict[bytes, WriterReader] = {}
        # Why the schema of an id is not read; a registry never gives an id another one.
        self._refused: dict[bytes, str] = {}
        self._limit = max_record_bytes

    def learn(self, values: Sequence[bytes | None]) -> None:
        """Ask the registry, in bounded time, for schemas of these values that are not known yet; `decode` never does.

        Raises RetryError while it cannot be reached, UnfinishedError where it goes on at the next try.
        """
        if self._registry is None:
            return
        headers = {
            value[:CONFLUENT_HEADER]
            for value in values
            if value and value.startswith(CONFLUENT_MAGIC) and CONFLUENT_HEADER <= len(value) <= self._limit
        }
        unread = headers - self._by_id.keys() - self._refused.keys()
        self._registry.learn([confluent_schema_id(header) for header in unread])
        for header in unread:
            # It is remembered; `decode` says so of each value.
            with suppress(DecodeError):
                self._from_registry(header)

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Raises RetryError, nothing decoded, where a schema of the registry is needed that was not learned."""
        given = values if isinstance(values, list) else list(values)
        claims = self._alike(given)
        if claims is not None:
            return Decoded(claims, np.arange(len(given)), ())
        read = self._mixed(given)
        failures = tuple(Failure(row, error) for row, error in read.failures)
        return Decoded(read.claims, np.array(read.places, np.int64), failures)

    def _alike(self, values: list[Any]) -> pa.RecordBatch | None:
        """The common case: every value good and under the first one's prefix."""
        try:
            given = byte_lengths(values)
        except TypeError:
            return None
        if not values or np.maximum.reduce(given) > self._limit:
            return None
        reader = self._common(values)
        return None if reader is None else reader.whole(values, given)

    def _common(self, values: list[bytes]) -> WriterReader | None:
        """The first value's reader. Bare values must not look framed: what is framed is read as such first."""
        known = self._known(values[0])
        if known is not None or self._bare is None:
            return known
        return None if any(value.startswith(self._magics) for value in values) else self._bare

    def _known(self, value: bytes) -> WriterReader | None:
        return self._by_fingerprint.get(value[:SINGLE_OBJECT_HEADER]) or self._by_id.get(
            value[:CONFLUENT_HEADER]
        )

    def _mixed(self, values: list[bytes | None]) -> Read:
        failures: list[tuple[int, RecordError]] = []
        unread: list[tuple[int, RecordError]] = []
        groups: dict[WriterReader, list[int]] = {}
        for row, value in enumerate(values):
            try:
                groups.setdefault(self._reader_of(value), []).append(row)
            except OversizeError as error:
                failures.append((row, error))
            except DecodeError as error:
                (unread if self._is_refused(value) else failures).append((row, error))
        reads = [read for reader, rows in groups.items() for read in self._group(reader, rows, values)]
        reads.append(self._as_bare(unread, values))
        return joined([*reads, Read(empty_batch(self.arrow_schema), [], failures)], self.arrow_schema)

    def _is_refused(self, value: bytes | None) -> bool:
        """Whether it begins like one of a registered schema that cannot be read."""
        return value is not None and value[:CONFLUENT_HEADER] in self._refused

    def _group(self, reader: WriterReader, rows: list[int], values: list[bytes | None]) -> list[Read]:
        read = _placed(reader.each([values[row] or b"" for row in rows]), rows)
        if reader is self._bare:
            return [read]
        return [Read(read.claims, read.places, []), self._as_bare(read.failures, values)]

    def _as_bare(self, failures: list[tuple[int, RecordError]], values: list[bytes | None]) -> Read:
        """What did not fit its framing may be a bare value that begins like one; else the first error stands."""
        if self._bare is None or not failures:
            return Read(empty_batch(self.arrow_schema), [], failures)
        rows = [row for row, _ in failures]
        read = _placed(self._bare.each([values[row] or b"" for row in rows]), rows)
        return Read(
            read.claims, read.places, [failure for failure in failures if failure[0] not in set(read.places)]
        )

    def _reader_of(self, value: bytes | None) -> WriterReader:
        if not value:
            raise DecodeError("the value is null, a tombstone" if value is None else "the value is empty")
        if len(value) > self._limit:
            raise OversizeError(
                f"the value has {len(value)} bytes; limits.record_max_bytes allows {self._limit}"
            )
        found = self._known(value) or self._from_registry(value) or self._bare
        if found is None:
            raise DecodeError(_unknown(value, registry=self._registry is not None))
        return found

    def _from_registry(self, value: bytes) -> WriterReader | None:
        if self._registry is None or not value.startswith(CONFLUENT_MAGIC) or len(value) < CONFLUENT_HEADER:
            return None
        header = value[:CONFLUENT_HEADER]
        if (reason := self._refused.get(header)) is not None:
            raise DecodeError(reason)
        try:
            schema = self._registry.schema(confluent_schema_id(value))
        except DecodeError:
            if self._bare is not None:
                return None
            raise
        reader = self._by_id[header] = self._registered(schema, header)
        return reader

    def _registered(self, schema: dict[str, Any], header: bytes) -> WriterReader:
        """Raises DecodeError for a schema that cannot be read, and keeps why: finding out takes milliseconds."""
        try:
            return self._reader(schema, Framing.CONFLUENT, header)
        except UsageError as error:
            reason = f"the schema of id {confluent_schema_id(header)} cannot be read here: {error}"
            if len(self._refused) >= _REFUSED_KEPT:
                self._refused.clear()
            self._refused[header] = reason
            raise DecodeError(reason) from error

    def _reader(self, writer: Mapping[str, Any], framing: Framing, prefix: bytes) -> WriterReader:
        with readable():
            return WriterReader(writer, self._target, framing, prefix)


def _target(schema: dict[str, Any]) -> Target:
    with readable():
        shape = parse(schema)
        check_columns(shape)
        columns = pyruhvro.avro_to_arrow_schema(json.dumps(schema))
        return Target(completed(schema, shape, columns), shape, columns)


def _fingerprinted(schema: dict[str, Any]) -> bytes:
    with readable():
        return single_object_prefix(schema)


def _placed(read: Read, rows: list[int]) -> Read:
    """The same with rows of the whole poll as places."""
    failures = [(rows[place], error) for place, error in read.failures]
    return Read(read.claims, [rows[place] for place in read.places], failures)


def _unknown(value: bytes, *, registry: bool) -> str:
    if value.startswith(SINGLE_OBJECT_MAGIC):
        fingerprint = value[len(SINGLE_OBJECT_MAGIC) : SINGLE_OBJECT_HEADER].hex()
        return f"fingerprint {fingerprint} is of no known writer; add its schema to schemas.known_writers"
    if value.startswith(CONFLUENT_MAGIC) and not registry:
        return "the value begins like one of a schema registry; set schemas.registry_url"
    return f"the value begins with {value[:2].hex()}, no known framing; for bare values set schemas.bare"
