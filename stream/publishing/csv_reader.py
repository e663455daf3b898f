"""Reads the mapped columns of a CSV or CSV.gz file as text, row by row accounted for."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from stream.errors import UsageError
from stream.publishing.arrow_calls import Column, column, one_piece
from stream.publishing.file_kinds import open_bytes
from stream.publishing.headers import found_columns
from stream.publishing.mapping import FileFormat, Headers
from stream.publishing.raw_rows import RawRows, id_among, settled
from stream.publishing.rejects import Reject
from stream.publishing.unread import unread_columns

BLOCK_BYTES = 8 << 20
LONGEST_HEADER = 1 << 20


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


def read_csv_rows(
    path: Path, wanted: Mapping[str, str], layout: FileFormat, headers: Headers, identity: Sequence[str]
) -> RawRows:
    """The columns `wanted` (column: the mapping's key that asks for it) that the file has.

    Raises UsageError for a file that cannot be read to its end, or lacks a column.
    """
    try:
        with open_bytes(path) as file:
            header = _header(path, file, layout)
            found = found_columns(path, header, wanted, headers)
            if not file.read(1):
                raise UsageError(f"{path} has a header but no rows: there is nothing to publish")
        with open_bytes(path) as file:
            ids = [found[name] for name in identity if name in found]
            rows = _read(path, file, found, _Identity(header, ids, layout))
            return replace(rows, unread=unread_columns(header, found))
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path} cannot be read as CSV: {error}") from error


def _header(path: Path, file: IO[bytes], layout: FileFormat) -> list[str]:
    try:
        line = file.readline(LONGEST_HEADER).decode("utf-8-sig")
        names = next(csv.reader([line], delimiter=layout.delimiter), None)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the header of {path} is not UTF-8 CSV text: {error}") from error
    if not names:
        raise UsageError(f"{path} is empty: it needs a header row and at least one claim")
    return names


class _Identity:
    """Reads of a damaged row which claim it belongs to, if that can be read."""

    def __init__(self, header: Sequence[str], names: Sequence[str], layout: FileFormat) -> None:
        self._places = [header.index(name) for name in names]
        self._names = names
        self.layout = layout

    def of_line(self, text: str) -> str:
        """Of a row that has too few values, or too many: those before the fault stand where they should."""
        try:
            values = next(csv.reader(io.StringIO(text, newline=""), delimiter=self.layout.delimiter), [])
        except csv.Error:
            return ""
        return id_among((values[place] for place in self._places if place < len(values)), self.layout)

    def of_row(self, table: pa.Table, row: int) -> str:
        cells = [table.column(name)[row].as_py() for name in self._names]
        return id_among((cell.decode() for cell in cells if cell and _decodes(cell)), self.layout)


def _read(path: Path, file: IO[bytes], found: Mapping[str, str], identity: _Identity) -> RawRows:
    layout = identity.layout
    malformed: list[Reject] = []
    counter = LineCounter(file)
    reader = _reader(counter, list(dict.fromkeys(found.values())), identity, malformed)
    table = reader.read_all().combine_chunks()
    total = table.num_rows + len(malformed)
    if counter.lines > total + 1 and not layout.line_breaks_in_values:
        raise UsageError(
            f"{path} has {counter.lines} lines but {total + 1} rows: a quote is left open, or values contain"
            " line breaks. Mend the file, or set format.line_breaks_in_values: true in the mapping."
        )
    columns = {name: one_piece(path, own, table.column(own)) for name, own in found.items()}
    return _texts(table, columns, found, malformed, identity)


def _reader(counter: LineCounter, names: list[str], identity: _Identity, malformed: list[Reject]) -> Any:
    def skip(row: Any) -> Literal["skip"]:
        reason = f"{row.actual_columns} values where the header has {row.expected_columns}"
        malformed.append(Reject(int(row.number), identity.of_line(row.text), reason))
        return "skip"

    open_csv: Any = pyarrow.csv.open_csv
    return open_csv(
        pa.PythonFile(counter, mode="r"),
        # One thread: only then does a malformed row come with its number.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=identity.layout.delimiter,
            newlines_in_values=True,
            ignore_empty_lines=False,
            invalid_row_handler=skip,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=names, column_types=dict.fromkeys(names, pa.binary())
        ),
    )


def _texts(
    table: pa.Table,
    columns: Mapping[str, Column],
    found: Mapping[str, str],
    malformed: list[Reject],
    identity: _Identity,
) -> RawRows:
    total = table.num_rows + len(malformed)
    skipped = np.asarray([reject.row - 2 for reject in malformed], dtype=np.int64)
    numbers = np.setdiff1d(np.arange(total), skipped) + 2
    damaged = np.zeros(table.num_rows, dtype=np.bool_)
    for values in columns.values():
        damaged |= _not_utf8(values)
    unreadable = [
        Reject(int(numbers[row]), identity.of_row(table, row), "not UTF-8 text")
        for row in np.flatnonzero(damaged).tolist()
    ]
    kept = column(~damaged)
    texts = {name: values.filter(kept).cast(pa.string()) for name, values in columns.items()}
    return settled(texts, numbers[~damaged], [*malformed, *unreadable], identity.layout, found)


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
