"""Avro schemas as trees of shapes: names resolved, logical types recognised, documentation gone.

Equal shapes are equal bytes of equal meaning, so shapes decide what may be read without resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stream.errors import UsageError

Schema = Any

PRIMITIVES = {"null", "boolean", "int", "long", "float", "double", "string", "bytes"}
_LOGICAL = {
    "int": {"date", "time-millis"},
    "long": {"time-micros", "timestamp-millis", "timestamp-micros", "timestamp-nanos"}
    | {"local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos"},
    "string": {"uuid"},
    "bytes": {"decimal"},
    "fixed": {"decimal", "duration", "uuid"},
}
_LEAST = {"null": 0, "boolean": 1, "float": 4, "double": 8}


@dataclass(frozen=True, slots=True)
class Shape:
    """One type. `kind` is Avro's name of it; a union of null and one other type is `nullable`.

    `parts`: a record's fields, an array's items, a map's values, a union's branches, a nullable's other branch.
    `names`: a record's field names, an enum's symbols. `size`: of a fixed; for a nullable, the index of null.
    """

    kind: str
    parts: tuple[Shape, ...] = ()
    names: tuple[str, ...] = ()
    full_name: str = ""
    logical: str | None = None
    size: int = 0
    precision: int = 0
    scale: int = 0


def parse(schema: Schema) -> Shape:
    """The schema's shape. Raises UsageError for a malformed schema or one that this codec refuses."""
    return _Parser().shape(schema, "")


@contextmanager
def readable() -> Iterator[None]:
    """The Avro libraries' errors over a malformed schema share no base class; here they become UsageError."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"a malformed Avro schema: {type(error).__name__}: {error}") from error


def least_bytes(shape: Shape) -> int:
    """Bytes of the shortest encoding."""
    if shape.kind == "record":
        return sum(map(least_bytes, shape.parts))
    return shape.size if shape.kind == "fixed" else _LEAST.get(shape.kind, 1)


class _Parser:
    """Resolves names while it descends."""

    def __init__(self) -> None:
        self._named: dict[str, Shape] = {}
        self._open: set[str] = set()

    def shape(self, schema: Schema, namespace: str) -> Shape:
        if isinstance(schema, list):
            return self._union(schema, namespace)
        if isinstance(schema, str):
            return Shape(schema) if schema in PRIMITIVES else self._reference(schema, namespace)
        if not isinstance(schema, Mapping) or "type" not in schema:
            raise UsageError(f"not an Avro schema: {schema!r}")
        return self._complex(schema, namespace)

    def _complex(self, schema: Mapping[str, Any], namespace: str) -> Shape:
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.shape(kind, namespace)
        try:
            if kind in PRIMITIVES:
                return _logical(Shape(kind), schema)
            if kind == "array":
                return self._array(schema, namespace)
            if kind == "map":
                return Shape("map", (self.shape(schema["values"], namespace),))
            if kind in ("record", "error", "enum", "fixed"):
                return self._define(schema, namespace)
        except (KeyError, TypeError) as error:
            raise UsageError(
                f"the {kind} {schema.get('name', '')!r} of an Avro schema lacks {error}"
            ) from error
        return self._reference(kind, namespace)

    def _array(self, schema: Mapping[str, Any], namespace: str) -> Shape:
        items = self.shape(schema["items"], namespace)
        if least_bytes(items) == 0:
            # A block count of a few bytes would stand for boundless memory.
            raise UsageError(
                f"an array of {schema['items']!r} takes no bytes an item; such schemas are refused"
            )
        return Shape("array", (items,))

    def _union(self, branches: list[Schema], namespace: str) -> Shape:
        parts = tuple(self.shape(branch, namespace) for branch in branches)
        kinds = [part.kind for part in parts]
        if len(parts) == 2 and kinds.count("null") == 1:
            null = kinds.index("null")
            return Shape("nullable", (parts[1 - null],), size=null)
        return Shape("union", parts)

    def _define(self, schema: Mapping[str, Any], namespace: str) -> Shape:
        name = str(schema["name"])
        full = name if "." in name else ".".join(filter(None, (schema.get("namespace", namespace), name)))
        self._open.add(full)
        shape = self._body(schema, full)
        self._open.discard(full)
        self._named[full] = shape
        return shape

    def _body(self, schema: Mapping[str, Any], full: str) -> Shape:
        if schema["type"] == "enum":
            return Shape("enum", names=tuple(schema["symbols"]), full_name=full)
        if schema["type"] == "fixed":
            return _logical(Shape("fixed", full_name=full, size=_size(schema, full)), schema)
        parts = tuple(self.shape(field["type"], full.rpartition(".")[0]) for field in schema["fields"])
        return Shape("record", parts, tuple(field["name"] for field in schema["fields"]), full)

    def _reference(self, name: str, namespace: str) -> Shape:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full in self._open or name in self._open:
            raise UsageError(f"the Avro schema is recursive at {name!r}; a claim's columns cannot be")
        found = self._named.get(full) or self._named.get(name)
        if found is None:
            raise UsageError(f"the Avro schema names an unknown type {name!r}")
        return found


def _size(schema: Mapping[str, Any], full: str) -> int:
    size = int(schema["size"])
    if size < 0:
        raise UsageError(f"the fixed {full!r} of an Avro schema has the size {size}")
    return size


def _logical(shape: Shape, schema: Mapping[str, Any]) -> Shape:
    """Avro says that an unknown logical type, or one on a wrong type, is ignored."""
    logical = schema.get("logicalType")
    if logical not in _LOGICAL.get(shape.kind, ()):
        return shape
    precision, scale = (
        (int(schema["precision"]), int(schema.get("scale", 0))) if logical == "decimal" else (0, 0)
    )
    return Shape(shape.kind, (), (), shape.full_name, logical, shape.size, precision, scale)
