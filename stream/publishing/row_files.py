"""Rows of any kind of file, as a mapping reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stream.errors import UsageError
from stream.publishing.avro_rows import read_avro_rows
from stream.publishing.csv_reader import read_csv_rows
from stream.publishing.file_kinds import Kind, kind_of
from stream.publishing.json_rows import read_json_rows
from stream.publishing.mapping import FileFormat, Headers
from stream.publishing.parquet_rows import read_parquet_rows
from stream.publishing.raw_rows import RawRows, text_column

_Read = Callable[[Path, Mapping[str, str], FileFormat, Headers, Sequence[str]], RawRows]
_READERS: Mapping[Kind, _Read] = {
    Kind.CSV: read_csv_rows,
    Kind.JSON_LINES: read_json_rows,
    Kind.AVRO: read_avro_rows,
    Kind.PARQUET: read_parquet_rows,
}


def read_rows(
    path: Path,
    wanted: Mapping[str, str],
    layout: FileFormat | None = None,
    headers: Headers | None = None,
    identity: Sequence[str] = (),
) -> RawRows:
    """The columns `wanted` (column: who asks for it) of the whole file; optional ones that it lacks are null.

    `identity` are those whose first filled one says which claim a damaged row belongs to.
    Raises UsageError for a file that cannot be read to its end, lacks a column, or has no rows.
    """
    rows = _READERS[kind_of(path)](path, wanted, layout or FileFormat(), headers or Headers(), identity)
    if not rows.total:
        raise UsageError(f"{path} has no rows: there is nothing in it")
    nothing = text_column([None] * len(rows.numbers))
    return replace(rows, columns={name: rows.columns.get(name, nothing) for name in wanted})
