"""Claims in an Avro container: any record schema that resolves to claim_event by Avro's rules."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyruhvro

import schemas
from stream.codec.exact import Lengths, measure
from stream.codec.fast import is_fast
from stream.codec.framing import Framing
from stream.codec.resolution import project
from stream.codec.shapes import Shape, parse
from stream.codec.walk import Walker
from stream.codec.writers import Target, WriterReader
from stream.errors import DecodeError, UsageError
from stream.publishing.arrow_calls import Column
from stream.publishing.avro_container import Block, container
from stream.publishing.claim_checks import accepted
from stream.publishing.claim_schema import claim_schema
from stream.publishing.claim_source import BATCH_ROWS, ClaimRows
from stream.publishing.file_kinds import Kind
from stream.publishing.headers import check_claim_fields
from stream.publishing.rejects import Reject
from stream.publishing.unread import claim_names, names_of_shape, unread_names

_STAMP = b"claims!\x3f"


class AvroClaims:
    """Looks at the schema and at the frame of every block when it is made."""

    kind = Kind.AVRO

    def __init__(self, path: Path) -> None:
        self._path = path
        with container(path) as file:
            self.expected = file.count()
            schema = file.schema
        names = [field["name"] for field in schema["fields"]]
        check_claim_fields(path, names)
        try:
            self._reader = _Blocks(schema)
            self.ignored = tuple(unread_names(names_of_shape(parse(schema)), claim_names()))
        except UsageError as error:
            raise UsageError(f"the schema of {path} cannot be read as claims: {error}") from error

    def batches(self) -> Iterator[ClaimRows]:
        with container(self._path) as file:
            for blocks in _gathered(file.blocks()):
                try:
                    yield self._reader.read(blocks)
                except DecodeError as error:
                    first = blocks[0].first
                    raise UsageError(
                        f"{self._path} is damaged in the blocks from record {first} on: {error}"
                    ) from error


class _Blocks:
    """Blocks of one writer schema to claims."""

    def __init__(self, schema: dict[str, Any]) -> None:
        wanted = schemas.load("claim_event")
        target = Target(wanted, parse(wanted), claim_schema())
        self._shape = parse(schema)
        self._is_claim_schema = self._shape == target.shape
        self._walker = Walker(self._shape)
        self._each = WriterReader(schema, target, Framing.BARE, b"")
        fast = project(wanted, self._shape, target.shape, target.arrow) if is_fast(self._shape) else None
        self._projection = fast
        items = {"type": "array", "items": schema}
        fields = [{"name": "claims", "type": items}, {"name": "stamp", "type": "double"}]
        self._gathering = json.dumps({"type": "record", "name": "Gathered", "fields": fields})

    def read(self, blocks: Sequence[Block]) -> ClaimRows:
        """Raises DecodeError where the bytes of a block are no records."""
        first, count = blocks[0].first, sum(block.count for block in blocks)
        payload = b"".join([block.payload for block in blocks])
        together = self._together(payload, count)
        if together is not None:
            accept = accepted(together[0], np.arange(first, first + count))
            as_written = self._is_claim_schema and not accept.rejects
            return replace(accept, written=_values(payload, together[1])) if as_written else accept
        values = [value for block in blocks for value in self._split(block)]
        read = self._each.each(values)
        rejects = tuple(Reject(first + place, "", str(error)) for place, error in read.failures)
        return accepted(read.claims, np.asarray(read.places, dtype=np.int64) + first, rejects)

    def _together(self, payload: bytes, count: int) -> tuple[pa.RecordBatch, Lengths] | None:
        """All records at once and the bytes of each, if they surely are whole: they are read as one Avro array.

        The stamp behind it shows that the array ended where the bytes do.
        """
        # A count that no bytes stand behind would be memory in the library.
        if self._projection is None or count > len(payload):
            return None
        array = b"".join((_varint(count), payload, b"\x00", _STAMP))
        try:
            gathered = pyruhvro.deserialize_array([array], self._gathering)
        except ValueError:
            return None
        lists, stamp = gathered.columns
        records: Any = lists.values
        columns = [records.field(place) for place in range(records.type.num_fields)]
        if stamp[0].as_py() != struct.unpack("<d", _STAMP)[0] or len(records) != count:
            return None
        lengths = _exact(self._shape, columns, count, len(payload))
        if lengths is None:
            return None
        names = [records.type.field(place).name for place in range(len(columns))]
        claims = self._projection.apply(pa.RecordBatch.from_arrays(columns, names=names))
        return pa.RecordBatch.from_arrays(claims.columns, schema=claim_schema()), lengths

    def _split(self, block: Block) -> list[bytes]:
        ends = [0]
        for _ in range(block.count):
            ends.append(self._walker.end(block.payload, ends[-1]))
        if ends[-1] != len(block.payload):
            raise DecodeError(f"{len(block.payload) - ends[-1]} bytes follow the last record of a block")
        return [block.payload[start:end] for start, end in pairwise(ends)]


def _exact(shape: Shape, columns: list[Any], count: int, size: int) -> Lengths | None:
    """The bytes of each record, if all took just so many together and their texts are UTF-8."""
    measured = measure(shape.parts, columns, count)
    if any(not text.to_pybytes().isascii() for text in measured.texts):
        try:
            for values in columns:
                values.validate(full=True)
        except pa.ArrowInvalid:
            return None
    return measured.lengths if int(measured.lengths.sum()) == size else None


def _values(payload: bytes, lengths: Lengths) -> Column:
    """The records as a column of bytes that lie where they lay."""
    ends = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=ends[1:])
    build: Any = pa.BinaryArray.from_buffers
    built: Column = build(pa.binary(), len(lengths), [None, pa.py_buffer(ends), pa.py_buffer(payload)])
    return built


def _gathered(blocks: Iterator[Block]) -> Iterator[list[Block]]:
    """Blocks together, until they hold about as many records as a batch should."""
    taken: list[Block] = []
    for block in blocks:
        if block.count:
            taken.append(block)
        if sum(each.count for each in taken) >= BATCH_ROWS:
            yield taken
            taken = []
    if taken:
        yield taken


def _varint(number: int) -> bytes:
    """Zigzag, as Avro writes a count."""
    bits = number << 1
    written = bytearray()
    while bits > 0x7F:
        written.append(bits & 0x7F | 0x80)
        bits >>= 7
    return bytes([*written, bits])
