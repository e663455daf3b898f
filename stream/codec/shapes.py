"""What a schema is made of: which parts the fast path reads as Avro means them, and which no path accepts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stream.errors import UsageError

Schema = Any

_PRIMITIVE = {"null", "boolean", "int", "long", "float", "double", "string", "bytes"}
_FAST_LOGICAL = {None, "date", "timestamp-millis", "timestamp-micros"}


def kind(schema: Schema) -> str:
    """Name of a schema's type; `union` for a list."""
    if isinstance(schema, list):
        return "union"
    return str(schema["type"]) if isinstance(schema, dict) else str(schema)


def nullable(schema: Schema) -> Schema | None:
    """The other branch of a union of null and one type; None for everything else."""
    if not isinstance(schema, list) or len(schema) != 2 or "null" not in schema:
        return None
    return schema[1] if schema[0] == "null" else schema[0]


def parts(schema: Schema) -> Iterator[Schema]:
    """The schema and every schema inside it."""
    yield schema
    if isinstance(schema, list):
        children = schema
    elif not isinstance(schema, dict):
        return
    elif "fields" in schema:
        children = [field["type"] for field in schema["fields"]]
    else:
        children = [schema[name] for name in ("items", "values") if name in schema]
    for child in children:
        yield from parts(child)


def is_fast(schema: Schema) -> bool:
    """Whether every part is one that the fast path and its length check read exactly as Avro defines it."""
    return all(_part_is_fast(part) for part in parts(schema))


def check_bounded(schema: Schema, name: str) -> None:
    """Refuse what lets a few bytes stand for boundless memory: collections of items that take no bytes."""
    for part in parts(schema):
        items = part.get("items") if isinstance(part, dict) else None
        if items is not None and _is_empty(items):
            raise UsageError(f"schema {name}: an array of {items!r} takes no bytes an item and is not accepted")


def _part_is_fast(part: Schema) -> bool:
    if isinstance(part, list):
        return nullable(part) is not None
    if isinstance(part, dict):
        if part.get("logicalType") not in _FAST_LOGICAL:
            return False
        return kind(part) in _PRIMITIVE | {"record", "array", "map"}
    return part in _PRIMITIVE


def _is_empty(schema: Schema) -> bool:
    if isinstance(schema, dict) and "fields" in schema:
        return all(_is_empty(field["type"]) for field in schema["fields"])
    return kind(schema) == "null" or (kind(schema) == "fixed" and schema["size"] == 0)
