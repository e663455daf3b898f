"""Canonical Avro length of every row of an Arrow batch, vectorised.

The canonical encoding (shortest varints, one block an array) is the shortest there is, so a record whose length
equals it was read to its last byte: nothing follows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.codec.shapes import Shape

Lengths = npt.NDArray[np.int64]

# Where the fast path may have cut an integer to its type's width, no length is certain: the row must never match.
_UNCERTAIN = 1 << 40
_CONSTANT = {"null": 0, "boolean": 1, "float": 4, "double": 8, "enum": 1}
_CERTAIN_BYTES = {"int": 4, "long": 9}


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes of each row, and the memory of all its texts."""

    lengths: Lengths
    texts: Sequence[pa.Buffer]


@dataclass(frozen=True, slots=True)
class _Reach:
    """Bytes of the first k elements: `each * k + steps[k]`; no `steps` means zeros."""

    each: int
    steps: Lengths | None = None

    def __add__(self, other: _Reach) -> _Reach:
        if self.steps is None or other.steps is None:
            steps = other.steps if self.steps is None else self.steps
        else:
            steps = self.steps + other.steps
        return _Reach(self.each + other.each, steps)


def measure(shapes: Sequence[Shape], columns: Sequence[pa.Array], rows: int) -> Measured:
    """`columns` are whole (unsliced), straight from the fast path."""
    texts: list[pa.Buffer] = []
    total = _Reach(0)
    for shape, column in zip(shapes, columns, strict=True):
        total = total + _reach(shape, iter(column.buffers()), rows, texts)
    return Measured(_each(total, rows), texts)


def _reach(shape: Shape, buffers: Iterator[pa.Buffer | None], rows: int, texts: list[pa.Buffer]) -> _Reach:
    """Takes the buffers of one array, its children's included, in Arrow's depth-first order."""
    if shape.kind == "nullable":
        return _reach(shape.parts[0], buffers, rows, texts) + _Reach(1)
    valid = _valid(next(buffers), rows)
    if shape.kind in _CONSTANT:
        for _ in range(_further_buffers(shape.kind)):
            next(buffers)
        found = _Reach(_CONSTANT[shape.kind])
    elif shape.kind in ("int", "long"):
        found = _integers(next(buffers), rows, shape.kind, valid)
    elif shape.kind == "string":
        found = _strings(buffers, rows, texts)
    elif shape.kind == "record":
        found = sum((_reach(part, buffers, rows, texts) for part in shape.parts), _Reach(0))
    else:
        found = _collection(shape, buffers, rows, texts)
    return found if valid is None else _masked(found, rows, valid)


def _further_buffers(kind: str) -> int:
    return {"null": 0, "enum": 2}.get(kind, 1)


def _collection(
    shape: Shape, buffers: Iterator[pa.Buffer | None], rows: int, texts: list[pa.Buffer]
) -> _Reach:
    offsets = _offsets(next(buffers), rows)
    items = int(offsets[-1])
    inner = _Reach(0)
    if shape.kind == "map":
        next(buffers)
        inner = _reach(Shape("string"), buffers, items, texts)
    inner = inner + _reach(shape.parts[0], buffers, items, texts)
    steps = inner.each * offsets if inner.steps is None else inner.each * offsets + inner.steps[offsets]
    counts = np.diff(offsets)
    return _Reach(1, steps) + _sized(counts, counts > 0)


def _strings(buffers: Iterator[pa.Buffer | None], rows: int, texts: list[pa.Buffer]) -> _Reach:
    offsets = _offsets(next(buffers), rows)
    data = next(buffers)
    if data is not None and data.size:
        texts.append(data)
    return _Reach(0, offsets) + _sized(np.diff(offsets), None)


def _integers(buffer: pa.Buffer | None, rows: int, kind: str, valid: npt.NDArray[np.bool_] | None) -> _Reach:
    if buffer is None or rows == 0:
        return _Reach(0)
    values = np.frombuffer(buffer, np.int32 if kind == "int" else np.int64, rows)
    if valid is not None:
        values = np.where(valid, values, values.dtype.type(0))
    return _varints(_zigzag(values), _CERTAIN_BYTES[kind])


def _zigzag(values: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.unsignedinteger]:
    bits = values.dtype.itemsize * 8
    return ((values << 1) ^ (values >> (bits - 1))).view(f"u{values.dtype.itemsize}")  # type: ignore[no-any-return]


def _sized(counts: Lengths, present: npt.NDArray[np.bool_] | None) -> _Reach:
    """The varints of counts and lengths, which are never negative; where not present there is none."""
    if counts.size == 0:
        return _Reach(0)
    if present is None or present.all():
        return _varints((counts << 1).view(np.uint64), _CERTAIN_BYTES["long"])
    return _masked(_varints((counts << 1).view(np.uint64), _CERTAIN_BYTES["long"]), counts.size, present)


def _varints(zigzag: npt.NDArray[np.unsignedinteger], certain: int) -> _Reach:
    """Bytes of each varint, 7 bits a byte."""
    least, most = _varint_bytes(int(zigzag.min())), _varint_bytes(int(zigzag.max()))
    if least == most <= certain:
        return _Reach(most)
    sizes = np.full(zigzag.size, least, np.int64)
    for size in range(least, most):
        longer = zigzag >= zigzag.dtype.type(1 << (7 * size))
        sizes += longer if size < certain else longer * _UNCERTAIN
    if least > certain:
        sizes += _UNCERTAIN
    return _Reach(0, _cumulative(sizes))


def _varint_bytes(zigzag: int) -> int:
    return max(1, (zigzag.bit_length() + 6) // 7)


def _masked(reach: _Reach, rows: int, present: npt.NDArray[np.bool_]) -> _Reach:
    return _Reach(0, _cumulative(_each(reach, rows) * present))


def _each(reach: _Reach, rows: int) -> Lengths:
    if reach.steps is None:
        return np.full(rows, reach.each, np.int64)
    return np.diff(reach.steps) + reach.each


def _cumulative(sizes: Lengths) -> Lengths:
    steps = np.zeros(sizes.size + 1, np.int64)
    np.cumsum(sizes, out=steps[1:])
    return steps


def _offsets(buffer: pa.Buffer | None, rows: int) -> Lengths:
    if buffer is None or buffer.size == 0:
        return np.zeros(rows + 1, np.int64)
    return np.frombuffer(buffer, np.int32, rows + 1).astype(np.int64)


def _valid(buffer: pa.Buffer | None, rows: int) -> npt.NDArray[np.bool_] | None:
    """Arrow's validity bits; None when every element is there."""
    if buffer is None:
        return None
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), count=rows, bitorder="little").view(np.bool_)
    return None if bits.all() else bits
