"""Claims as nested Python values, checked against the claim schema and completed with its defaults."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import schemas

Convert = Callable[[Any, str], Any]

_DOUBLE_DIGITS = 1e308


class ClaimValues:
    """Reads one claim at a time, for what comes as JSON and for rows that the columns' path refuses."""

    def __init__(self) -> None:
        schema = schemas.load("claim_event")
        self._convert = _record(schema)

    def read(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """The claim. Raises ValueError that names the field and what is wrong with it."""
        claim: dict[str, Any] = self._convert(value, "")
        return claim


def _conversion(schema: Any) -> Convert:
    if isinstance(schema, list):
        (part,) = (_conversion(branch) for branch in schema if branch != "null")
        return lambda value, place: None if value is None else part(value, place)
    if isinstance(schema, str):
        return _LEAVES[schema]
    if schema.get("logicalType") == "date":
        return _date
    if schema["type"] == "record":
        return _record(schema)
    if schema["type"] == "array":
        return _array(_conversion(schema["items"]))
    if schema["type"] == "map":
        return _map(_conversion(schema["values"]))
    return _conversion(schema["type"])


def _record(schema: Mapping[str, Any]) -> Convert:
    parts = [(field["name"], _conversion(field["type"]), field) for field in schema["fields"]]

    def convert(value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _wrong(value, place, "a record")
        return {name: _field(value, name, part, field, place) for name, part, field in parts}

    return convert


def _field(value: Mapping[str, Any], name: str, part: Convert, field: Mapping[str, Any], place: str) -> Any:
    here = f"{place}.{name}" if place else name
    found = value.get(name)
    if found is None:
        if "default" in field:
            return part(field["default"], here)
        raise ValueError(f"{here} is missing")
    return part(found, here)


def _array(part: Convert) -> Convert:
    def convert(value: Any, place: str) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong(value, place, "a list")
        return [part(item, f"{place}[{number}]") for number, item in enumerate(value)]

    return convert


def _map(part: Convert) -> Convert:
    def convert(value: Any, place: str) -> list[tuple[str, Any]]:
        pairs = list(value.items()) if isinstance(value, Mapping) else value
        # Arrow gives a map as a list of pairs, which JSON has not.
        if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
            raise _wrong(value, place, "an object")
        return [(_text(key, place), part(item, f"{place}.{key}")) for key, item in pairs]

    return convert


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, place, "text")
    return value


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(value, place, "a number")
    if not -_DOUBLE_DIGITS <= value <= _DOUBLE_DIGITS or not math.isfinite(value):
        raise _wrong(value, place, "a finite number")
    return float(value)


def _date(value: Any, place: str) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise _wrong(value, place, "a date like 2024-01-31") from None


def _wrong(value: Any, place: str, wanted: str) -> ValueError:
    return ValueError(f"{place or 'the claim'}: {str(value)[:60]!r} is not {wanted}")


_LEAVES: Mapping[str, Convert] = {"string": _text, "double": _number}
