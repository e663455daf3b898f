"""The fast path: whole polls through pyruhvro into Arrow columns, and what it must be distrusted in.

pyruhvro ends quietly before the end of a value, cuts integers to 32 bits and does not look at text's encoding.
So the rows' canonical lengths are compared with those given, and text is validated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyruhvro

from stream.codec.exact import Lengths, measure
from stream.codec.framing import Framing, prefix_fields, prefix_images
from stream.codec.shapes import Shape
from stream.codec.walk import Walker
from stream.errors import DecodeError

_KINDS = {"boolean", "int", "long", "float", "double", "string", "array", "map", "nullable"}
_LOGICAL = {None, "date", "timestamp-millis", "timestamp-micros"}
_ENUM_BYTE = 64
# Up to here walking each record is cheaper than measuring all columns; a single large record is not.
FEW = 16
FEW_BYTES = 2_000


def is_fast(shape: Shape) -> bool:
    """Whether pyruhvro reads every part as Avro means it, and `exact` measures it."""
    if shape.logical not in _LOGICAL:
        return False
    if shape.kind == "record":
        return bool(shape.parts) and all(map(is_fast, shape.parts))
    if shape.kind == "enum":
        return len(shape.names) <= _ENUM_BYTE
    return shape.kind in _KINDS and all(map(is_fast, shape.parts))


class FastReader:
    """Reads values of one writer schema that all begin with the same prefix.

    The prefix of many is read as two more columns in front (a varint and a float or double have just its bytes),
    so a poll needs no Python per value; a few values are walked and cut one by one.
    """

    def __init__(self, schema: Mapping[str, Any], shape: Shape, framing: Framing, prefix: bytes) -> None:
        extra = prefix_fields(framing, shape.names)
        self._unframed = json.dumps(schema)
        self._framed = json.dumps({**schema, "fields": [*extra, *schema["fields"]]})
        self._images = prefix_images(prefix)
        self._own = list(range(len(extra), len(extra) + len(shape.parts)))
        self._prefix = prefix
        self._shapes = shape.parts
        self._walker = Walker(shape)

    def read(self, values: list[bytes], given: Lengths) -> pa.RecordBatch | None:
        """The writer's columns if every value (of `given` bytes) is surely one record under the prefix."""
        few = len(values) <= FEW and np.add.reduce(given) <= FEW_BYTES
        try:
            return self._few(values) if few else self._many(values, given)
        except ValueError:
            # Which of the values is at fault is for the caller to find out.
            return None

    def _few(self, values: list[bytes]) -> pa.RecordBatch | None:
        if not all(map(self._is_whole, values)):
            return None
        start = len(self._prefix)
        return pyruhvro.deserialize_array([value[start:] for value in values], self._unframed)

    def _many(self, values: list[bytes], given: Lengths) -> pa.RecordBatch | None:
        batch = pyruhvro.deserialize_array(values, self._framed)
        columns = batch.columns
        framed, claims = columns[: len(self._images)], columns[len(self._images) :]
        if not self._has_prefix(framed, len(values)):
            return None
        measured = measure(self._shapes, claims, len(values))
        if any(not text.to_pybytes().isascii() for text in measured.texts):
            batch.validate(full=True)
        if not (measured.lengths + len(self._prefix) == given).all():
            return None
        return batch.select(self._own) if self._images else batch

    def _is_whole(self, value: bytes) -> bool:
        try:
            self._walker.check(value, len(self._prefix))
        except DecodeError:
            return False
        return value.startswith(self._prefix)

    def _has_prefix(self, framed: list[pa.Array[Any]], rows: int) -> bool:
        for column, image in zip(framed, self._images, strict=True):
            found: npt.NDArray[Any] = np.frombuffer(memoryview(column.buffers()[1] or b""), image.dtype, rows)
            if not (found == image).all():
                return False
        return True
