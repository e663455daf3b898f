"""Avro container files, block by block.

fastavro reads records as Python objects; claims that are to become columns need a block's bytes, which it keeps to
itself. So the frame of the file is read here, and the records of files of any schema by fastavro.
"""

from __future__ import annotations

import bz2
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import IO, Any

import fastavro
import pyarrow as pa

from stream.errors import UsageError

SYNC_BYTES = 16
_LONGEST_VARINT = 10
_LONGEST_HEAD = 2 * _LONGEST_VARINT
_HEADER = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "Magic", "size": 4}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": SYNC_BYTES}},
        ],
    }
)


@dataclass(frozen=True, slots=True)
class Block:
    """`count` records, one after the other, as bytes; `first` is the number of the first, from 1."""

    first: int
    count: int
    payload: bytes


class Container:
    """One open file. Every method raises UsageError where the file is damaged or cut off, naming the place."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        header = self._header()
        self.schema: dict[str, Any] = _schema(path, header["meta"])
        self._codec = header["meta"].get("avro.codec", b"null").decode()
        if self._codec not in _UNPACK:
            known = ", ".join(_UNPACK)
            raise UsageError(f"{path} is packed with {self._codec}; what can be read is {known}")
        self._sync = header["sync"]
        self._start = file.tell()
        self._end = file.seek(0, SEEK_END)

    def count(self) -> int:
        """Records of the whole file; reads no more than the heads of its blocks, and looks at every sync marker."""
        return sum(count for _, count, _ in self._frames(keep=False))

    def blocks(self) -> Iterator[Block]:
        for first, count, packed in self._frames(keep=True):
            yield Block(first, count, self._unpacked(first, packed))

    def records(self) -> Iterator[dict[str, Any]]:
        """Records as fastavro's objects, whatever the schema."""
        schema = fastavro.parse_schema(self.schema)
        for block in self.blocks():
            source = BytesIO(block.payload)
            for place in range(block.count):
                start = source.tell()
                try:
                    record: Any = fastavro.schemaless_reader(source, schema, None)
                except Exception as error:  # fastavro's errors over bad bytes share no base
                    source.seek(start)
                    raise self._unreadable(source, block.first + place, error) from error
                yield record
            if source.read(1):
                raise self._damaged(
                    block.first + block.count - 1, "bytes follow the last record of its block"
                )

    def _header(self) -> dict[str, Any]:
        try:
            header: Any = fastavro.schemaless_reader(self._file, _HEADER, None)
        except Exception as error:  # as above
            raise UsageError(
                f"{self._path} is no whole Avro file: its header cannot be read ({error})"
            ) from error
        return dict(header)

    def _frames(self, *, keep: bool) -> Iterator[tuple[int, int, bytes]]:
        """First record, count of records and, if kept, packed bytes of each block."""
        at, first = self._start, 1
        self._file.seek(at)
        while head := self._file.read(_LONGEST_HEAD):
            count, used = self._number(head, 0, first)
            size, used = self._number(head, used, first)
            if count < 0 or size < 0:
                raise self._damaged(first, f"a block of {count} records in {size} bytes")
            if size > self._end - at - used:
                raise self._damaged(first, f"a block of {size} bytes, more than the file has left")
            self._file.seek(at + used if keep else at + used + size)
            packed = self._file.read(size) if keep else b""
            if (keep and len(packed) < size) or self._file.read(SYNC_BYTES) != self._sync:
                raise self._damaged(first, "the file ends inside a block, or its sync marker is another")
            yield first, count, packed
            at += used + size + SYNC_BYTES
            first += count

    def _number(self, head: bytes, at: int, first: int) -> tuple[int, int]:
        """A zigzag varint, and where it ends."""
        bits = 0
        for place, byte in enumerate(head[at : at + _LONGEST_VARINT]):
            bits |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return (bits >> 1) ^ -(bits & 1), at + place + 1
        raise self._damaged(first, "the file ends in the head of a block, or that is no number")

    def _unpacked(self, first: int, packed: bytes) -> bytes:
        try:
            return _UNPACK[self._codec](packed)
        except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError, pa.ArrowException) as error:
            raise self._damaged(first, f"{self._codec}: {error}") from error

    def _unreadable(self, source: IO[bytes], record: int, error: Exception) -> UsageError:
        """Whole bytes may stand for what their type has not: a date beyond the year 9999, a UUID that is none."""
        reason = f"{type(error).__name__}: {error}"
        bare = json.loads(json.dumps(self.schema), object_hook=_without_logical_type)
        try:
            fastavro.schemaless_reader(source, fastavro.parse_schema(bare), None)
        except Exception:  # noqa: BLE001 - as above; the first error says why
            return self._damaged(record, reason)
        return UsageError(
            f"{self._path}: record {record} holds a date, time or other value that cannot be read ({reason}): "
            "correct it or leave that record out"
        )

    def _damaged(self, record: int, reason: str) -> UsageError:
        return UsageError(
            f"{self._path} is damaged or cut off at record {record} ({reason}): write or copy it again"
        )


@contextmanager
def container(path: Path) -> Iterator[Container]:
    """Raises UsageError for a file that is no Avro container."""
    with path.open("rb") as file:
        yield Container(path, file)


def _schema(path: Path, meta: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        schema = json.loads(meta["avro.schema"])
        fastavro.parse_schema(schema)
    except Exception as error:  # fastavro's errors over a bad schema share no base
        raise UsageError(f"{path} holds no Avro schema that can be read: {error}") from error
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise UsageError(f"{path} holds no records: its schema is {str(schema)[:80]}")
    return dict(schema)


def _without_logical_type(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != "logicalType"}


def _snappy(packed: bytes) -> bytes:
    """Raw Snappy, whose first varint is the size, and a checksum of four bytes."""
    size, shift = 0, 0
    for byte in packed:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    unpacked: bytes = pa.decompress(packed[:-4], size, codec="snappy", asbytes=True)
    if zlib.crc32(unpacked).to_bytes(4, "big") != packed[-4:]:
        raise ValueError("the checksum differs")
    return unpacked


def _zstandard(packed: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
        return bytes(stream.read())


_UNPACK: Mapping[str, Callable[[bytes], bytes]] = {
    "null": bytes,
    "deflate": lambda packed: zlib.decompress(packed, -15),
    "snappy": _snappy,
    "zstandard": _zstandard,
    "bzip2": bz2.decompress,
    "xz": lzma.decompress,
}
