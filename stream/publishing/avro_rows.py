"""Reads the mapped fields of an Avro container file of any record schema as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stream.publishing.avro_container import container
from stream.publishing.headers import found_columns
from stream.publishing.mapping import FileFormat, Headers
from stream.publishing.plain_values import records_as_rows
from stream.publishing.raw_rows import RawRows
from stream.publishing.unread import unread_columns


def read_avro_rows(
    path: Path, wanted: Mapping[str, str], layout: FileFormat, headers: Headers, identity: Sequence[str]
) -> RawRows:
    """Dotted names reach into nested records. Raises UsageError for a damaged file or a missing field."""
    with container(path) as file:
        names = list(_names(file.schema))
        found = found_columns(path, names, wanted, headers)
        records = list(file.records())
    rows = records_as_rows(records, np.arange(1, len(records) + 1), found, (), layout, identity)
    return replace(rows, unread=unread_columns(names, found))


def _names(schema: Any, prefix: str = "") -> Iterator[str]:
    """Fields of the record, and of the records among them."""
    branches = schema if isinstance(schema, list) else [schema]
    for branch in branches:
        kind = branch.get("type") if isinstance(branch, Mapping) else None
        if isinstance(kind, Mapping | list):
            yield from _names(kind, prefix)
        elif kind in ("record", "error"):
            for field in branch["fields"]:
                yield prefix + field["name"]
                yield from _names(field["type"], f"{prefix}{field['name']}.")
