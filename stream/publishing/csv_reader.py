"""Reads the mapped columns of a CSV or CSV.gz file as text, row by row accounted for."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from stream.errors import UsageError
from stream.publishing.arrow_calls import Column, column, compute
from stream.publishing.mapping import FileFormat
from stream.publishing.rejects import Reject

GZIP_MAGIC = b"\x1f\x8b"
BLOCK_BYTES = 8 << 20
LONGEST_HEADER = 1 << 20


@dataclass(frozen=True, slots=True)
class RawRows:
    """Trimmed texts of the well-formed rows, null where empty; `numbers` counts from 1, header included."""

    columns: Mapping[str, Column]
    numbers: npt.NDArray[np.int64]
    rejects: tuple[Reject, ...]

    @property
    def total(self) -> int:
        return len(self.numbers) + len(self.rejects)


class LineCounter(io.RawIOBase):
    """Passes bytes through and counts the lines among them."""

    def __init__(self, source: IO[bytes]) -> None:
        super().__init__()
        self._source = source
        self._breaks = 0
        self._last = b""

    @property
    def lines(self) -> int:
        return self._breaks + (self._last not in (b"", b"\n"))

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._breaks += data.count(b"\n")
        self._last = data[-1:] or self._last
        return data


def read_rows(path: Path, names: Mapping[str, str], layout: FileFormat) -> RawRows:
    """The columns in `names` (column: the mapping's key that asks for it) of the whole file.

    Raises UsageError for a file that cannot be read to its end, or lacks a column.
    """
    check_file(path)
    try:
        with _open(path) as file:
            _check_header(path, _header(path, file, layout), names)
        with _open(path) as file:
            return _read(path, file, list(names), layout)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path} is damaged: its gzip data cannot be read to the end ({error})") from error
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path} cannot be read as CSV: {error}") from error


def check_file(path: Path) -> None:
    """Raises UsageError for what is no readable, non-empty file, or is not what its name says."""
    if path.is_dir():
        raise UsageError(f"{path} is a directory: name a CSV file in it")
    if not path.exists():
        raise UsageError(f"no file {path}{_nearest_file(path)}")
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if not start:
        raise UsageError(f"{path} is empty: it needs a header row and at least one claim")
    if path.suffix == ".gz" and start != GZIP_MAGIC:
        raise UsageError(f"{path} is not a gzip file: unpack or rename it to end in .csv")


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}"
    nearest = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f": did you mean {path.with_name(nearest[0])}?" if nearest else ""


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    return cast("IO[bytes]", gzip.open(path, "rb")) if packed else path.open("rb")


def _header(path: Path, file: IO[bytes], layout: FileFormat) -> list[str]:
    try:
        line = file.readline(LONGEST_HEADER).decode("utf-8-sig")
        names = next(csv.reader([line], delimiter=layout.delimiter), None)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the header of {path} is not UTF-8 CSV text: {error}") from error
    if not names:
        raise UsageError(f"{path} is empty: it needs a header row and at least one claim")
    return names


def _check_header(path: Path, header: Sequence[str], names: Mapping[str, str]) -> None:
    counts = Counter(header)
    missing = [name for name in names if name not in counts]
    if missing:
        reasons = "; ".join(_missing(name, names[name], header) for name in missing[:5])
        more = f" (and {len(missing) - 5} more)" if len(missing) > 5 else ""
        raise UsageError(
            f"{path} does not fit the mapping: {reasons}{more}. Correct the mapping or the file."
        )
    doubled = [name for name in names if counts[name] > 1]
    if doubled:
        raise UsageError(f"{path} has the column {doubled[0]} twice: rename one of them")


def _missing(name: str, key: str, header: Sequence[str]) -> str:
    folded = {column.casefold(): column for column in header}
    nearest = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.5)
    hint = f"nearest column: {folded[nearest[0]]}" if nearest else f"its columns: {', '.join(header[:8])}"
    return f"no column {name} ({key}), {hint}"


def _read(path: Path, file: IO[bytes], names: list[str], layout: FileFormat) -> RawRows:
    malformed: list[Reject] = []
    counter = LineCounter(file)
    reader = _reader(counter, names, layout, malformed)
    table = reader.read_all().combine_chunks()
    total = table.num_rows + len(malformed)
    if total == 0:
        raise UsageError(f"{path} has a header but no rows: there is nothing to publish")
    if counter.lines > total + 1 and not layout.line_breaks_in_values:
        raise UsageError(
            f"{path} has {counter.lines} lines but {total + 1} rows: a quote is left open, or values contain"
            " line breaks. Mend the file, or set format.line_breaks_in_values: true in the mapping."
        )
    return _texts(table, names, malformed, layout)


def _reader(counter: LineCounter, names: list[str], layout: FileFormat, malformed: list[Reject]) -> Any:
    def skip(row: Any) -> Literal["skip"]:
        reason = f"{row.actual_columns} values where the header has {row.expected_columns}"
        malformed.append(Reject(int(row.number), "", reason))
        return "skip"

    open_csv: Any = pyarrow.csv.open_csv
    return open_csv(
        pa.PythonFile(counter, mode="r"),
        # One thread: only then does a malformed row come with its number.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=layout.delimiter,
            newlines_in_values=True,
            ignore_empty_lines=False,
            invalid_row_handler=skip,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=names, column_types=dict.fromkeys(names, pa.binary())
        ),
    )


def _texts(table: pa.Table, names: list[str], malformed: list[Reject], layout: FileFormat) -> RawRows:
    total = table.num_rows + len(malformed)
    skipped = np.asarray([reject.row - 2 for reject in malformed], dtype=np.int64)
    numbers = np.setdiff1d(np.arange(total), skipped) + 2
    columns = {name: _chunk(table, name) for name in names}
    damaged = np.zeros(table.num_rows, dtype=np.bool_)
    for values in columns.values():
        damaged |= _not_utf8(values)
    rejects = [*malformed, *(Reject(int(row), "", "not UTF-8 text") for row in numbers[damaged])]
    kept = column(~damaged)
    texts = {name: _trimmed(values.filter(kept), layout) for name, values in columns.items()}
    blank = np.ones(int((~damaged).sum()), dtype=np.bool_)
    for values in texts.values():
        blank &= np.asarray(values.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)
    rejects += [Reject(int(row), "", "blank row") for row in numbers[~damaged][blank]]
    filled = column(~blank)
    return RawRows(
        columns={name: values.filter(filled) for name, values in texts.items()},
        numbers=numbers[~damaged][~blank],
        rejects=tuple(rejects),
    )


def _chunk(table: pa.Table, name: str) -> Column:
    chunks: Any = table.column(name)
    built: Column = chunks.chunk(0) if chunks.num_chunks else column([], pa.binary())
    return built


def _not_utf8(values: Column) -> npt.NDArray[np.bool_]:
    damaged = np.zeros(len(values), dtype=np.bool_)
    try:
        values.cast(pa.string())
    except pa.ArrowInvalid:
        damaged[:] = [not _decodes(value) for value in values.to_pylist()]
    return damaged


def _decodes(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _trimmed(values: Column, layout: FileFormat) -> Column:
    text: Any = compute.utf8_trim_whitespace(values.cast(pa.string()))
    empty = compute.is_in(text, value_set=pa.array(["", *layout.nulls], type=pa.string()))
    built: Column = compute.if_else(empty, pa.scalar(None, pa.string()), text)
    return built
