"""Arrow's calls under types that mypy can follow: the stubs' overloads refuse many valid ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from stream.errors import UsageError

Column: TypeAlias = "pa.Array[Any]"
compute: Any = pyarrow.compute


def column(values: Any, kind: Any = None, mask: npt.NDArray[np.bool_] | None = None) -> Column:
    built: Column = pa.array(values, type=kind, mask=mask)
    return built


def one_piece(path: Path, name: str, chunks: Any) -> Column:
    """The column `name` of a file as one array. Raises UsageError for more text than an array holds, which is 2 GiB."""
    try:
        built: Column = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowCapacityError) as error:
        raise UsageError(f"{path}: the column {name} holds more than 2 GiB: split the file") from error
    return built


def booleans(values: Any) -> npt.NDArray[np.bool_]:
    """A Boolean column without nulls as numpy."""
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.bool_)


def list_column(offsets: npt.NDArray[np.int64], members: list[Column], kind: Any) -> Column:
    """A list of structs; `offsets` has one entry more than the column."""
    items = pa.StructArray.from_arrays(members, fields=list(kind.value_type))
    build: Any = pa.ListArray.from_arrays
    built: Column = build(column(offsets.astype(np.int32)), items, type=kind)
    return built


def map_column(offsets: npt.NDArray[np.int64], keys: Column, values: Column, kind: Any) -> Column:
    build: Any = pa.MapArray.from_arrays
    built: Column = build(column(offsets.astype(np.int32)), keys, values, type=kind)
    return built


def date_column(days: npt.NDArray[np.int64], missing: npt.NDArray[np.bool_] | None = None) -> Column:
    """Days since 1970-01-01."""
    built: Column = column(days.astype(np.int32), mask=missing).view(pa.date32())
    return built
