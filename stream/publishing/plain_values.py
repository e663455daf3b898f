"""Single values of records as the text that a mapping reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, time
from typing import Any

import numpy as np

from stream.publishing.arrow_calls import Column
from stream.publishing.mapping import FileFormat
from stream.publishing.raw_rows import Numbers, RawRows, id_among, settled, text_column
from stream.publishing.rejects import Reject


class NotSingleError(ValueError):
    """A list or a record where a mapping reads one value."""


def records_as_rows(
    records: Sequence[Mapping[str, Any]],
    numbers: Numbers,
    found: Mapping[str, str],
    rejects: Sequence[Reject],
    layout: FileFormat,
    identity: Sequence[str],
) -> RawRows:
    """`found` is the record's name of each column; a record with a list where a value should be is rejected."""
    kept: list[int] = []
    texts: dict[str, list[str | None]] = {name: [] for name in found}
    wrong = list(rejects)
    for number, record in zip(numbers.tolist(), records, strict=True):
        try:
            cells = [as_text(value_at(record, own), own) for own in found.values()]
        except NotSingleError as error:
            cells = [_single(record, found[name]) for name in identity if name in found]
            wrong.append(Reject(number, id_among(cells, layout), str(error)))
            continue
        kept.append(number)
        for name, cell in zip(found, cells, strict=True):
            texts[name].append(cell)
    columns: dict[str, Column] = {name: text_column(values) for name, values in texts.items()}
    return settled(columns, np.asarray(kept, dtype=np.int64), wrong, layout)


def _single(record: Mapping[str, Any], name: str) -> str | None:
    try:
        return as_text(value_at(record, name), name)
    except NotSingleError:
        return None


def value_at(record: Mapping[str, Any], name: str) -> Any:
    """The value under `name`, or under its parts if it has dots: patient.id is `id` of the record `patient`."""
    if name in record:
        return record[name]
    value: Any = record
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def as_text(value: Any, name: str) -> str | None:
    """Raises NotSingleError for a list, a record or bytes that are no text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping | list | tuple | bytes):
        raise NotSingleError(f"{name}: {type(value).__name__} is no single value")
    return str(value)
