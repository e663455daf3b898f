"""Writer schema to reader schema over whole columns, where that is exact and simple."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from stream.codec.definitions import Aliases
from stream.codec.reference import conversion
from stream.codec.shapes import Shape
from stream.errors import UsageError

_DECIMAL_DIGITS = 38
_NO_COLUMN = {
    "duration",
    "timestamp-nanos",
    "local-timestamp-millis",
    "local-timestamp-micros",
    "local-timestamp-nanos",
}


@dataclass(frozen=True, slots=True)
class _Column:
    """Where a reader's column comes from: the writer's at `index`, else one value for every row."""

    index: int | None
    value: Any = None


class Projection:
    """Writer columns to reader columns: chosen, reordered, widened, or filled with a default."""

    def __init__(self, columns: Sequence[_Column], writer: Shape, wanted: Shape, schema: pa.Schema) -> None:
        self._columns = columns
        self._schema = schema
        self._same = writer.parts == wanted.parts and writer.names == wanted.names

    def apply(self, written: pa.RecordBatch) -> pa.RecordBatch:
        """Columns of exactly the reader's Arrow schema."""
        if self._same:
            return written
        chosen = [
            _filled(column.value, field.type, written.num_rows)
            if column.index is None
            else _typed(written.column(column.index), field.type)
            for column, field in zip(self._columns, self._schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(chosen, schema=self._schema)


def project(reader: Mapping[str, Any], writer: Shape, wanted: Shape, schema: pa.Schema) -> Projection | None:
    """None where only full resolution will do: other names, other nested types, aliases, absent defaults."""
    if writer.full_name.rpartition(".")[2] != wanted.full_name.rpartition(".")[2]:
        return None
    columns = []
    for field, shape in zip(reader["fields"], wanted.parts, strict=True):
        column = _column(field, writer, shape)
        if column is None:
            return None
        columns.append(column)
    return Projection(columns, writer, wanted, schema)


def check_meaning(writer: Shape, wanted: Shape, place: str, aliases: Aliases) -> None:
    """Raises UsageError where resolution would carry numbers from one unit to another, unchanged."""
    for name, left, right in _pairs(writer, wanted, aliases):
        here = f"{place}.{name}" if name else place
        meaning = (left.logical, left.precision, left.scale), (right.logical, right.precision, right.scale)
        if left.logical and right.logical and meaning[0] != meaning[1]:
            raise UsageError(
                f"{here}: written as {left.logical}, wanted as {right.logical}, or another scale"
            )
        check_meaning(left, right, here, aliases)


def _column(field: Mapping[str, Any], writer: Shape, wanted: Shape) -> _Column | None:
    if field["name"] in writer.names:
        index = writer.names.index(field["name"])
        return _Column(index) if _same_or_wider(writer.parts[index], wanted) else None
    if "default" not in field or field.get("aliases"):
        return None
    return _Column(None, conversion(wanted)(field["default"]))


def _same_or_wider(written: Shape, wanted: Shape) -> bool:
    if written == wanted or (wanted.kind == "nullable" and written == wanted.parts[0]):
        return True
    return (written, wanted) in _WIDER


_WIDER = [(Shape("int"), Shape("long")), (Shape("int"), Shape("double")), (Shape("float"), Shape("double"))]


def _pairs(writer: Shape, wanted: Shape, aliases: Aliases) -> Iterator[tuple[str, Shape, Shape]]:
    """The parts that resolution brings together."""
    if writer.kind == wanted.kind == "record":
        of_wanted = aliases.get(wanted.full_name, {})
        for written, part in zip(writer.names, writer.parts, strict=True):
            name = written if written in wanted.names else of_wanted.get(written)
            if name is not None:
                yield name, part, wanted.parts[wanted.names.index(name)]
        return
    unions = ("nullable", "union")
    if writer.kind in unions or wanted.kind in unions:
        for left in _branches(writer):
            yield from (("", left, right) for right in _branches(wanted) if _meet(left, right))
        return
    yield from (("", *pair) for pair in zip(writer.parts, wanted.parts, strict=False))


def _branches(shape: Shape) -> tuple[Shape, ...]:
    return shape.parts if shape.kind in ("nullable", "union") else (shape,)


def _meet(written: Shape, wanted: Shape) -> bool:
    """Whether a value of one branch may become one of the other that has a logical type."""
    return written.kind == wanted.kind or (written.kind, wanted.kind) == ("int", "long")


def _typed(column: pa.Array[Any], kind: pa.DataType) -> pa.Array[Any]:
    return column if column.type.equals(kind) else column.cast(kind)


def _filled(value: Any, kind: pa.DataType, rows: int) -> pa.Array[Any]:
    return pa.array([value], kind).take(np.zeros(rows, np.int64))


def check_columns(shape: Shape) -> None:
    """Raises UsageError for a reader schema that has no columns here."""
    if shape.kind != "record":
        raise UsageError(f"the reader schema is a {shape.kind}, not a record")
    for name, part in zip(shape.names, shape.parts, strict=True):
        _check_column(part, f"{shape.full_name}.{name}")


def _check_column(shape: Shape, place: str) -> None:
    if shape.kind == "union":
        raise UsageError(f"{place}: a union of several types has no column type; take null and one type")
    if shape.logical in _NO_COLUMN:
        raise UsageError(f"{place}: {shape.logical} has no column type; take the type without it")
    if shape.precision > _DECIMAL_DIGITS:
        raise UsageError(
            f"{place}: a decimal of {shape.precision} digits has no column type; take at most 38"
        )
    for index, part in enumerate(shape.parts):
        _check_column(part, f"{place}.{shape.names[index]}" if shape.names else place)
