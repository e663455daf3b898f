"""Canonical Avro length of every row of an Arrow batch, vectorised.

The canonical encoding (shortest varints, one block an array) is the shortest there is, so a record whose length
equals it was read to its last byte: nothing follows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.codec.shapes import Shape

Lengths = npt.NDArray[np.int64]
Valid = npt.NDArray[np.bool_]

# Where the fast path may have cut an integer to its type's width, no length is certain: the row must never match.
_UNCERTAIN = 1 << 40
_CONSTANT = {"null": 0, "boolean": 1, "float": 4, "double": 8, "enum": 1}
_CERTAIN_BYTES = {"int": 4, "long": 9}
_FURTHER_BUFFERS = {"null": 0, "enum": 2}
_ONE_BYTE = 64
_WIDTH: dict[str, np.dtype[Any]] = {"int": np.dtype(np.int32), "long": np.dtype(np.int64)}
_TEXT = Shape("string")


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes of each row, and the memory of all its texts."""

    lengths: Lengths
    texts: Sequence[pa.Buffer]


class _Tally:
    """Bytes of the first k elements of one level: `each * k + steps[k]`."""

    __slots__ = ("each", "rows", "steps")

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.each = 0
        self.steps: Lengths | None = None

    def add(self, steps: Lengths) -> None:
        self.steps = steps if self.steps is None else self.steps + steps

    def first(self, counts: Lengths) -> Lengths:
        """Bytes of the first so many elements, for every one of the counts."""
        return counts * self.each if self.steps is None else counts * self.each + self.steps[counts]

    def lengths(self) -> Lengths:
        """Bytes of each element."""
        if self.steps is None:
            return np.full(self.rows, self.each, np.int64)
        return self.steps[1:] - self.steps[:-1] + self.each


class _Measure:
    """Takes the buffers of arrays, their children's included, in Arrow's depth-first order."""

    def __init__(self, buffers: Iterator[pa.Buffer | None]) -> None:
        self._buffers = buffers
        self.texts: list[pa.Buffer] = []

    def array(self, shape: Shape, tally: _Tally) -> None:
        """Add the elements of one array."""
        if shape.kind == "nullable":
            tally.each += 1
            return self.array(shape.parts[0], tally)
        valid = _valid(next(self._buffers), tally.rows)
        if valid is None:
            return self._elements(shape, tally, None)
        present = _Tally(tally.rows)
        self._elements(shape, present, valid)
        return tally.add(_cumulative(present.lengths() * valid))

    def _elements(self, shape: Shape, tally: _Tally, valid: Valid | None) -> None:
        if shape.kind in _CONSTANT:
            tally.each += _CONSTANT[shape.kind]
            for _ in range(_FURTHER_BUFFERS.get(shape.kind, 1)):
                next(self._buffers)
        elif shape.kind == "string":
            self._strings(tally)
        elif shape.kind == "record":
            for part in shape.parts:
                self.array(part, tally)
        elif shape.kind in ("array", "map"):
            self._collection(shape, tally)
        else:
            self._integers(shape.kind, tally, valid)

    def _strings(self, tally: _Tally) -> None:
        offsets = _offsets(next(self._buffers), tally.rows)
        data = next(self._buffers)
        if data is not None and data.size:
            self.texts.append(data)
        tally.add(offsets)
        _add_sizes(tally, offsets[1:] - offsets[:-1])

    def _collection(self, shape: Shape, tally: _Tally) -> None:
        offsets = _offsets(next(self._buffers), tally.rows)
        items = _Tally(int(offsets[-1]))
        if shape.kind == "map":
            next(self._buffers)
            self.array(_TEXT, items)
        self.array(shape.parts[0], items)
        tally.each += 1
        if items.rows == 0:
            return
        tally.add(items.first(offsets))
        counts = offsets[1:] - offsets[:-1]
        sizes = _Tally(tally.rows)
        _add_sizes(sizes, counts)
        tally.add(_cumulative(sizes.lengths() * (counts > 0)))

    def _integers(self, kind: str, tally: _Tally, valid: Valid | None) -> None:
        buffer = next(self._buffers)
        if buffer is None or tally.rows == 0:
            return
        values: npt.NDArray[Any] = np.frombuffer(memoryview(buffer), _WIDTH[kind], tally.rows)
        if valid is not None:
            values = np.where(valid, values, values.dtype.type(0))
        _add_varints(tally, _zigzag(values), _CERTAIN_BYTES[kind])


def measure(shapes: Sequence[Shape], columns: Sequence[pa.Array[Any]], rows: int) -> Measured:
    """`columns` are whole (unsliced), straight from the fast path."""
    measurement = _Measure(chain.from_iterable(column.buffers() for column in columns))
    total = _Tally(rows)
    for shape in shapes:
        measurement.array(shape, total)
    return Measured(total.lengths(), measurement.texts)


def _zigzag(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    bits = values.dtype.itemsize * 8
    return ((values << 1) ^ (values >> (bits - 1))).view(f"u{values.dtype.itemsize}")


def _add_sizes(tally: _Tally, counts: Lengths) -> None:
    """The varints of counts and lengths, which are never negative."""
    if counts.size == 0 or np.maximum.reduce(counts) < _ONE_BYTE:
        tally.each += 1
    else:
        _add_varints(tally, (counts << 1).view(np.uint64), _CERTAIN_BYTES["long"])


def _add_varints(tally: _Tally, zigzag: npt.NDArray[Any], certain: int) -> None:
    """Bytes of each varint, 7 bits a byte."""
    least = _varint_bytes(int(np.minimum.reduce(zigzag)))
    most = _varint_bytes(int(np.maximum.reduce(zigzag)))
    if least == most <= certain:
        tally.each += most
        return
    sizes = np.full(zigzag.size, least if least <= certain else _UNCERTAIN, np.int64)
    for size in range(least, most):
        longer = zigzag >= zigzag.dtype.type(1 << (7 * size))
        sizes += longer if size < certain else longer * _UNCERTAIN
    tally.add(_cumulative(sizes))


def _varint_bytes(zigzag: int) -> int:
    return max(1, (zigzag.bit_length() + 6) // 7)


def _cumulative(sizes: Lengths) -> Lengths:
    steps = np.zeros(sizes.size + 1, np.int64)
    np.cumsum(sizes, out=steps[1:])
    return steps


def _offsets(buffer: pa.Buffer | None, rows: int) -> Lengths:
    if buffer is None or buffer.size == 0:
        return np.zeros(rows + 1, np.int64)
    return np.frombuffer(memoryview(buffer), np.int32, rows + 1).astype(np.int64)


def _valid(buffer: pa.Buffer | None, rows: int) -> Valid | None:
    """Arrow's validity bits; None when every element is there."""
    if buffer is None:
        return None
    packed = np.frombuffer(memoryview(buffer), np.uint8)
    bits = np.unpackbits(packed, count=rows, bitorder="little").view(np.bool_)
    return None if bits.all() else bits
