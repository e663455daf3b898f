"""Readers of one writer schema: the fast path over whole polls, the reference for whatever it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyruhvro
from fastavro.schema import to_parsing_canonical_form

from stream.codec.exact import encoded_lengths
from stream.codec.reference import ReferenceReader, to_batch
from stream.codec.shapes import Schema, is_fast
from stream.errors import DecodeError

# Below this, asking the reference for each record's end is cheaper than computing all lengths.
_FEW = 24


@dataclass(frozen=True, slots=True)
class Read:
    """Columns of the records that could be read, their places among those given, and what was wrong with the others."""

    claims: pa.RecordBatch
    places: list[int]
    failures: list[tuple[int, DecodeError]]


class WriterReader:
    """Reads records of one writer schema into the columns of the reader schema."""

    def __init__(self, writer: Schema, reader: Schema, arrow: pa.Schema) -> None:
        self._writer = writer
        self._text = json.dumps(writer)
        self._arrow = arrow
        self._reference = ReferenceReader(writer, reader)
        self._own_end = ReferenceReader(writer, writer)
        self._columns = _projection(writer, reader) if is_fast(writer) and is_fast(reader) else None

    def read(self, payloads: list[bytes]) -> Read:
        """Every record on its own merits; a bad one costs only itself."""
        if self._columns is None:
            return self._by_reference(payloads, range(len(payloads)))
        parts = self._fast(payloads, 0)
        return parts[0] if len(parts) == 1 else joined(parts, self._arrow)

    def _fast(self, payloads: list[bytes], first: int) -> list[Read]:
        try:
            batch = pyruhvro.deserialize_array(payloads, self._text)
        except ValueError:
            if len(payloads) == 1:
                return [self._by_reference(payloads, [first])]
            middle = len(payloads) // 2
            return [*self._fast(payloads[:middle], first), *self._fast(payloads[middle:], first + middle)]
        doubtful = self._doubtful(payloads, batch)
        whole = Read(self._projected(batch), list(range(first, first + len(payloads))), [])
        return [whole] if not doubtful else self._settled(payloads, whole, doubtful)

    def _doubtful(self, payloads: list[bytes], batch: pa.RecordBatch) -> list[int]:
        """Records that the fast path may have left unread at their end."""
        if len(payloads) <= _FEW:
            return [i for i, payload in enumerate(payloads) if not self._reads_to_its_end(payload)]
        given = np.fromiter(map(len, payloads), np.int64, len(payloads))
        return np.flatnonzero(encoded_lengths(self._writer, batch) != given).tolist()  # type: ignore[no-any-return]

    def _reads_to_its_end(self, payload: bytes) -> bool:
        try:
            self._own_end.read(payload)
        except DecodeError:
            return False
        return True

    def _settled(self, payloads: list[bytes], whole: Read, doubtful: list[int]) -> list[Read]:
        """The reference decides about the doubtful; the others keep what the fast path read."""
        first = whole.places[0]
        sure = np.setdiff1d(np.arange(len(payloads)), doubtful)
        checked = self._by_reference([payloads[i] for i in doubtful], [first + i for i in doubtful])
        return [Read(whole.claims.take(pa.array(sure)), (sure + first).tolist(), []), checked]

    def _by_reference(self, payloads: Sequence[bytes], places: Sequence[int]) -> Read:
        records: list[dict[str, Any]] = []
        good: list[int] = []
        failures: list[tuple[int, DecodeError]] = []
        for place, payload in zip(places, payloads, strict=True):
            try:
                records.append(self._reference.read(payload))
                good.append(place)
            except DecodeError as error:
                failures.append((place, error))
        return Read(to_batch(records, self._arrow), good, failures)

    def _projected(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = self._columns or []
        chosen = [batch.column(index) for index in columns]
        return pa.RecordBatch.from_arrays(chosen, schema=self._arrow)


def _projection(writer: Schema, reader: Schema) -> list[int] | None:
    """Which writer column is each reader column, when that is all there is to resolve; None when it is not."""
    places = {field["name"]: index for index, field in enumerate(writer["fields"])}
    chosen: list[int] = []
    for field in reader["fields"]:
        index = places.get(field["name"])
        if index is None or _canonical(writer["fields"][index]["type"]) != _canonical(field["type"]):
            return None
        chosen.append(index)
    return chosen


def _canonical(schema: Schema) -> str:
    """A form in which equal types of equal meaning are equal texts."""
    if isinstance(schema, dict) and "logicalType" in schema:
        return f"{to_parsing_canonical_form(schema)}@{schema['logicalType']}"
    if isinstance(schema, dict | list):
        return json.dumps(schema, sort_keys=True)
    return str(schema)


def joined(parts: list[Read], schema: pa.Schema) -> Read:
    """One read out of several, in the order of their places."""
    places = [place for part in parts for place in part.places]
    order = np.argsort(np.array(places, np.int64), kind="stable")
    table = pa.Table.from_batches([part.claims for part in parts], schema)
    claims = table.take(pa.array(order)).combine_chunks().to_batches() if places else []
    failures = sorted((failure for part in parts for failure in part.failures), key=lambda failure: failure[0])
    empty = to_batch([], schema)
    return Read(claims[0] if claims else empty, [places[i] for i in order.tolist()], failures)
