"""Fields of a file that no field of a claim is read from: they are left out, and named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow as pa

import schemas
from stream.codec.shapes import Shape, parse

Names = Mapping[str, "Names"]


@cache
def claim_names() -> Names:
    """The fields of a claim, and under each those of the records in it; a map has none."""
    return names_of_shape(parse(schemas.load("claim_event")))


def names_of_shape(shape: Shape) -> Names:
    if shape.kind == "record":
        return {name: names_of_shape(part) for name, part in zip(shape.names, shape.parts, strict=True)}
    branches = () if shape.kind == "map" else shape.parts
    return {name: below for part in branches for name, below in names_of_shape(part).items()}


def names_of_type(kind: Any) -> Names:
    """The same of an Arrow type."""
    if pa.types.is_struct(kind):
        return {field.name: names_of_type(field.type) for field in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return names_of_type(kind.value_type)
    return {}


def unread_names(names: Names, known: Names, place: str = "") -> Iterator[str]:
    """Names, dotted where they are nested, that are not `known`."""
    for name, below in names.items():
        if name not in known:
            yield place + name
        elif known[name]:
            yield from unread_names(below, known[name], f"{place}{name}.")


def unread_values(value: Any, known: Names, place: str = "") -> Iterator[str]:
    """The same of one claim as JSON has it."""
    if isinstance(value, list):
        for item in value:
            yield from unread_values(item, known, place)
    elif isinstance(value, Mapping):
        for name, found in value.items():
            if name not in known:
                yield place + name
            elif known[name]:
                yield from unread_values(found, known[name], f"{place}{name}.")


def unread_columns(header: Sequence[str], found: Mapping[str, str]) -> tuple[str, ...]:
    """Columns that a mapping does not read; of a record of which nothing is read, its name alone."""
    read = set(found.values())
    above = {part for name in read for part in _above(name)}
    left = {name: None for name in header if name not in read and name not in above}
    return tuple(name for name in left if left.keys().isdisjoint(_above(name)))


def _above(name: str) -> Iterator[str]:
    return (name[:place] for place, letter in enumerate(name) if letter == ".")
