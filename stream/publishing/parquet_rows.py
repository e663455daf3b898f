"""Reads the mapped columns of a Parquet file as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stream.errors import UsageError
from stream.publishing.arrow_calls import Column, one_piece
from stream.publishing.headers import found_columns
from stream.publishing.mapping import FileFormat, Headers
from stream.publishing.raw_rows import RawRows, settled
from stream.publishing.unread import unread_columns


def read_parquet_rows(
    path: Path, wanted: Mapping[str, str], layout: FileFormat, headers: Headers, _identity: Sequence[str]
) -> RawRows:
    """Dates and times become ISO 8601; no row is damaged alone.

    Raises UsageError for a column that holds lists or records.
    """
    with parquet(path) as file:
        names = file.schema_arrow.names
        found = found_columns(path, names, wanted, headers)
        table: Any = file.read(columns=list(dict.fromkeys(found.values())))
    columns = {name: _text(path, own, table.column(own)) for name, own in found.items()}
    rows = settled(columns, np.arange(1, table.num_rows + 1), (), layout)
    return replace(rows, unread=unread_columns(names, found))


@contextmanager
def parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """The open file. Raises UsageError when it, or what is read of it meanwhile, is damaged or cut off."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UsageError(
            f"{path} is no whole Parquet file ({reason}): it is cut off or damaged, write or copy it again"
        ) from error


def _text(path: Path, name: str, values: Any) -> Column:
    kind = values.type
    if pa.types.is_nested(kind):
        raise UsageError(f"{path}: the column {name} holds {kind}; a mapping reads columns of single values")
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
    try:
        texts = values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowCapacityError) as error:
        raise UsageError(f"{path}: the column {name} ({kind}) cannot be read as text: {error}") from error
    return one_piece(path, name, texts)
