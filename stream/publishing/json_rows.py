"""Reads JSON lines: one object a line, its top-level values or, by dotted names, those of nested objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stream.errors import UsageError
from stream.publishing.file_kinds import open_bytes
from stream.publishing.headers import found_columns
from stream.publishing.mapping import FileFormat, Headers
from stream.publishing.plain_values import records_as_rows
from stream.publishing.raw_rows import RawRows
from stream.publishing.rejects import Reject
from stream.publishing.unread import unread_columns

LONGEST_LINE = 64 << 20


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


NUMBERS = json.JSONDecoder(parse_constant=_refused)
DIGITS = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refused)


def read_json_rows(
    path: Path, wanted: Mapping[str, str], layout: FileFormat, headers: Headers, identity: Sequence[str]
) -> RawRows:
    """Numbers keep the digits that the file has. Raises UsageError for a file that lacks a column."""
    records: list[dict[str, Any]] = []
    numbers: list[int] = []
    rejects: list[Reject] = []
    for number, line in json_lines(path):
        record = parsed(line, DIGITS)
        if isinstance(record, str):
            rejects.append(Reject(number, "", record))
        else:
            records.append(record)
            numbers.append(number)
    names = dict.fromkeys(name for record in records for name in _names(record))
    if not records:
        raise UsageError(f"{path} has no line that is a JSON object: {_first(rejects)}")
    found = found_columns(path, list(names), wanted, headers)
    rows = records_as_rows(records, np.asarray(numbers, dtype=np.int64), found, rejects, layout, identity)
    return replace(rows, unread=unread_columns(list(names), found))


def json_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line with its number from 1. Raises UsageError for a line longer than 64 MB."""
    with open_bytes(path) as file:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise UsageError(f"{path}: line {number} is longer than {LONGEST_LINE >> 20} MB")
            yield number, line


def parsed(line: bytes, decoder: json.JSONDecoder = NUMBERS) -> dict[str, Any] | str:
    """The object of a line, or what is wrong with it."""
    try:
        text = line.decode("utf-8-sig").strip()
        if not text:
            return "blank row"
        value = decoder.decode(text)
        if b"\\ud" in line.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return "not UTF-8 text"
    except UnicodeEncodeError:
        return "not text: half a surrogate pair, such as \\ud800, stands for no character"
    except RecursionError:
        return "not JSON: nested too deeply"
    except ValueError as error:
        return f"not JSON: {error}"
    return value if isinstance(value, dict) else f"a JSON {type(value).__name__}, not an object"


def _names(record: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in record.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{name}.")


def _first(rejects: list[Reject]) -> str:
    return f"line {rejects[0].row} is {rejects[0].reason}" if rejects else "it is empty"
