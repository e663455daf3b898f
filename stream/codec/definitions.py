"""The records that a reader schema defines: the aliases of their fields, and their defaults, completed and tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stream.codec.reference import conversion
from stream.codec.shapes import Schema, Shape
from stream.errors import UsageError

# By the full names of records.
Defaults = Mapping[str, Mapping[str, Any]]
Aliases = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Definition:
    """A record where its schema defines it, and the type of its columns."""

    schema: Schema
    shape: Shape
    kind: pa.StructType


def definitions(schema: Schema, shape: Shape, kind: Any) -> Iterator[Definition]:
    """All records of a schema whose columns are of type `kind`; its unions are of null and one type."""
    if isinstance(schema, Mapping) and schema["type"] in ("record", "error"):
        yield Definition(schema, shape, kind)
    for part in _parts(schema, shape, kind):
        yield from definitions(*part)


def _parts(schema: Schema, shape: Shape, kind: Any) -> Iterator[tuple[Schema, Shape, Any]]:
    if isinstance(schema, list):
        yield schema[1 - shape.size], shape.parts[0], kind
    elif not isinstance(schema, Mapping):
        return
    elif not isinstance(schema["type"], str):
        yield schema["type"], shape, kind
    elif schema["type"] == "array":
        yield schema["items"], shape.parts[0], kind.value_type
    elif schema["type"] == "map":
        yield schema["values"], shape.parts[0], kind.item_type
    elif schema["type"] in ("record", "error"):
        for index, field in enumerate(schema["fields"]):
            yield field["type"], shape.parts[index], kind.field(index).type


def completed(schema: dict[str, Any], shape: Shape, columns: pa.Schema) -> dict[str, Any]:
    """The same schema; a default that leaves fields of a record out has the fields' own.

    Raises UsageError for a default that is none of its type.
    """
    made = deepcopy(schema)
    found = list(definitions(made, shape, pa.struct(list(columns))))
    defaults = {
        each.shape.full_name: {
            field["name"]: field["default"] for field in each.schema["fields"] if "default" in field
        }
        for each in found
    }
    for each in found:
        for index, field in enumerate(each.schema["fields"]):
            if "default" in field:
                place, kind = f"{each.shape.full_name}.{field['name']}", each.kind.field(index).type
                field["default"] = _tried(place, field["default"], each.shape.parts[index], kind, defaults)
    return made


def aliases(schema: Mapping[str, Any], shape: Shape, columns: pa.Schema) -> Aliases:
    """The field that each alias stands for."""
    return {
        each.shape.full_name: {
            alias: field["name"] for field in each.schema["fields"] for alias in field.get("aliases", ())
        }
        for each in definitions(schema, shape, pa.struct(list(columns)))
    }


def _tried(place: str, default: Any, shape: Shape, kind: pa.DataType, defaults: Defaults) -> Any:
    try:
        value = _complete(default, shape, defaults)
        pa.array([conversion(shape)(value)], kind)
    except Exception as error:
        # pyarrow's and the conversions' errors share no base class.
        raise UsageError(f"{place}: its default does not fit its type: {error}") from error
    return value


def _complete(value: Any, shape: Shape, defaults: Defaults) -> Any:
    if shape.kind == "nullable":
        return None if value is None else _complete(value, shape.parts[0], defaults)
    if shape.kind == "record":
        given = {**defaults[shape.full_name], **value}
        return {
            name: _complete(given[name], part, defaults)
            for name, part in zip(shape.names, shape.parts, strict=True)
        }
    if shape.kind == "array":
        return [_complete(item, shape.parts[0], defaults) for item in value]
    if shape.kind == "map":
        return {key: _complete(item, shape.parts[0], defaults) for key, item in value.items()}
    return value
