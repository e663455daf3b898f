"""Recorded traces: when claims left, kept in a Parquet file of one column `seconds`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stream.errors import UsageError
from stream.publishing.arrivals import Floats

_SCHEMA = pa.schema([pa.field("seconds", pa.float64(), nullable=False)])


class Recorder:
    """Notes how many claims left when. Raises UsageError at once when `path` cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._moments: list[float] = []
        self._counts: list[int] = []
        self.save()

    def note(self, elapsed: float, count: int) -> None:
        """`elapsed` seconds since the start, never less than at an earlier call."""
        self._moments.append(elapsed)
        self._counts.append(count)

    def save(self) -> None:
        """Write one time a claim."""
        times = np.repeat(
            np.asarray(self._moments, dtype=np.float64), np.asarray(self._counts, dtype=np.int64)
        )
        write_recording(self._path, times)


def write_recording(path: Path, times: Floats) -> None:
    """Raises UsageError when the place cannot be written."""
    try:
        pq.write_table(pa.table({"seconds": times}, schema=_SCHEMA), path, write_page_checksum=True)
    except OSError as error:
        raise UsageError(f"cannot write the recorded times to {path}: {error}") from error


def read_recording(path: Path) -> Floats:
    """The times of a recording. Raises UsageError for a file that is none, is cut off, or whose times are no times."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        reason = str(error).rstrip(".")
        raise UsageError(
            f"{path} is no recording, or not a whole one ({reason}); `claimstream publish --record` makes one"
        ) from error
    if table.schema.names != _SCHEMA.names or table.schema.field("seconds").type != pa.float64():
        found = ", ".join(f"{field.name} {field.type}" for field in table.schema)
        raise UsageError(
            f"{path} is no recording: it holds {found or 'no column'}, not `seconds` as double alone"
        )
    times = table.column("seconds").to_numpy()
    if (wrong := _first_wrong(times)) is not None:
        raise UsageError(
            f"{path} is no recording: its time {wrong + 1}, {times[wrong]:g} s, {_why(times, wrong)}"
        )
    if not len(times):
        raise UsageError(f"{path} is an empty recording: it holds no arrival to replay")
    return np.asarray(times, dtype=np.float64)


def _first_wrong(times: Floats) -> int | None:
    """The place of the first time that is not finite, is negative, or lies before the one ahead of it."""
    before = np.concatenate([np.zeros(1), times[:-1]])
    wrong = np.flatnonzero(~(np.isfinite(times) & (times >= before)))
    return int(wrong[0]) if len(wrong) else None


def _why(times: Floats, wrong: int) -> str:
    if not np.isfinite(times[wrong]):
        return "is not a number of seconds"
    return f"lies before {times[wrong - 1]:g} s, the one ahead of it" if wrong else "lies before the start"
