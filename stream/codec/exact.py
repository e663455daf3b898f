"""Canonical Avro length of every row of an Arrow batch, vectorised.

The canonical encoding (shortest varints, one block an array) is the shortest there is, so a record whose length equals
it was read to its last byte: nothing follows it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.codec.shapes import Schema, kind, nullable

Lengths = npt.NDArray[np.int64]

# Zigzag doubles a value; one byte of a varint carries 7 bits.
_VARINT_STEPS = np.array([1 << (7 * k) for k in range(1, 10)], np.uint64)
_FIXED = {"null": 0, "boolean": 1, "float": 4, "double": 8}


def encoded_lengths(schema: Schema, batch: pa.RecordBatch) -> Lengths:
    """Bytes of each row; the batch must come from the fast path (whole, unsliced columns)."""
    total = np.zeros(batch.num_rows, np.int64)
    for field, column in zip(schema["fields"], batch.columns, strict=True):
        total += _lengths(field["type"], column)
    return total


def _lengths(schema: Schema, column: pa.Array) -> Lengths:
    branch = nullable(schema)
    if branch is not None:
        lengths = _lengths(branch, column)
        if column.null_count:
            lengths = lengths * column.is_valid().to_numpy(zero_copy_only=False)
        return lengths + 1
    name = kind(schema)
    if name in _FIXED:
        return np.full(len(column), _FIXED[name], np.int64)
    if name in ("string", "bytes"):
        return _prefixed(np.diff(_offsets(column)))
    if name in ("int", "long"):
        return _varint(_integers(column))
    if name == "record":
        inner = [_lengths(field["type"], column.field(i)) for i, field in enumerate(schema["fields"])]
        return np.sum(inner, axis=0) if inner else np.zeros(len(column), np.int64)
    return _collection(schema, column)


def _collection(schema: dict[str, Any], column: pa.Array) -> Lengths:
    offsets = _offsets(column)
    if kind(schema) == "array":
        items = _lengths(schema["items"], column.values)
    else:
        items = _lengths("string", column.keys) + _lengths(schema["values"], column.items)
    running = np.concatenate(([0], np.cumsum(items)))
    counts = np.diff(offsets)
    return running[offsets[1:]] - running[offsets[:-1]] + np.where(counts > 0, _varint(counts), 0) + 1


def _offsets(column: pa.Array) -> Lengths:
    buffer = column.buffers()[1]
    if buffer is None:
        return np.zeros(len(column) + 1, np.int64)
    found = np.frombuffer(buffer, np.int32, len(column) + 1, 4 * column.offset)
    return found.astype(np.int64)


def _integers(column: pa.Array) -> Lengths:
    width = np.int32 if column.type.bit_width == 32 else np.int64
    data = np.frombuffer(column.buffers()[1], width, len(column), width().itemsize * column.offset)
    return data.astype(np.int64)


def _prefixed(lengths: Lengths) -> Lengths:
    return lengths + _varint(lengths)


def _varint(values: Lengths) -> Lengths:
    if len(values) == 0 or (values.min() >= -64 and values.max() < 64):
        return np.ones(len(values), np.int64)
    zigzag = ((values << 1) ^ (values >> 63)).view(np.uint64)
    return np.searchsorted(_VARINT_STEPS, zigzag, side="right") + 1
