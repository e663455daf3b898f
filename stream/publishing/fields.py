"""Texts of the mapped columns become typed values; what does not parse is marked with its reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.publishing.arrow_calls import Column, booleans, column, compute
from stream.publishing.mapping import CodeSource, Source

NUMBER = r"^[+-]?\s*((\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?$"
# What Arrow reads as it stands: all of most columns.
BARE_NUMBER = r"^-?\d{1,18}(\.\d+)?$"
# Signs of currency stand before or behind a number, within brackets or outside.
CURRENCY = ((r"(?i)^([(+-]?)\s*(usd|[$€£])\s*", r"\1"), (r"(?i)\s*(usd|[$€£])\s*(\)?)$", r"\2"))
BRACKETS = (r"^\(\s*(.*?)\s*\)$", r"-\1")
ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")
EPOCH = date(1970, 1, 1).toordinal()


@dataclass(slots=True)
class Faults:
    """The first reason against each row."""

    reasons: dict[int, str] = field(default_factory=dict)

    def add(self, rows: npt.NDArray[np.bool_], reason: Callable[[int], str]) -> None:
        for row in np.flatnonzero(rows):
            self.reasons.setdefault(int(row), reason(int(row)))

    def rows(self) -> npt.NDArray[np.int64]:
        return np.asarray(sorted(self.reasons), dtype=np.int64)


class Fields:
    """Reads sources out of the rows of one file; `faults` collects what it could not read."""

    def __init__(self, columns: Mapping[str, Column], count: int) -> None:
        self._columns = columns
        self._count = count
        self.faults = Faults()

    def column(self, name: str) -> Column:
        """The raw text of one CSV column."""
        return self._columns[name]

    def codes(self, source: CodeSource, name: str) -> Column:
        """The texts of one column of codes."""
        return _in_case(self._columns[name], source.case)

    def texts(self, source: Source | None, key: str) -> Column:
        """The text of each row, null where there is none."""
        if source is None:
            return column([None] * self._count, pa.string())
        if source.constant is not None:
            return column([source.constant] * self._count, pa.string())
        found = compute.coalesce(*(self._columns[name] for name in source.columns))
        found = _in_case(found, source.case)
        if source.values:
            found = self._replaced(found, source, key)
        built: Column = found if source.default is None else compute.fill_null(found, source.default)
        return built

    def numbers(self, source: Source | None, key: str, missing: float) -> npt.NDArray[np.float64]:
        """Float64 per row, without signs of currency; commas part thousands, (1.50) is negative."""
        texts = self.texts(source, key)
        values = _as_numbers(texts)
        wrong = booleans(texts.is_valid()) & booleans(values.is_null())
        self.faults.add(wrong, lambda row: f"{key}: {texts[row].as_py()!r} is not a number")
        numbers: npt.NDArray[np.float64] = compute.fill_null(values, missing).to_numpy(zero_copy_only=False)
        return numbers

    def days(self, source: Source | None, key: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Days since 1970-01-01 per row, and which rows have no date."""
        texts = self.texts(source, key)
        encoded = texts.dictionary_encode()
        formats = source.formats if source is not None else ()
        parsed = [parse_day(str(text), formats) for text in encoded.dictionary.to_pylist()]
        table = np.asarray([0 if day is None else day for day in parsed] or [0], dtype=np.int64)
        unknown = np.asarray([day is None for day in parsed] or [True], dtype=np.bool_)
        empty = booleans(texts.is_null())
        index = compute.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)
        wrong = unknown[index] & ~empty
        expected = " or ".join(formats)
        self.faults.add(wrong, lambda row: f"{key}: {texts[row].as_py()!r} is not a date like {expected}")
        return table[index], empty | wrong

    def _replaced(self, texts: Column, source: Source, key: str) -> Column:
        known = column(list(source.values), pa.string())
        index = compute.index_in(texts, value_set=known)
        replaced: Column = column(list(source.values.values()), pa.string()).take(index)
        if source.default is None:
            wrong = booleans(texts.is_valid()) & booleans(replaced.is_null())
            self.faults.add(
                wrong, lambda row: f"{key}: {texts[row].as_py()!r} is not among the mapping's values"
            )
        return replaced


def parse_day(text: str, formats: tuple[str, ...]) -> int | None:
    """Days since 1970-01-01 by the first format that fits the whole text; ISO 8601 always does."""
    for form in formats:
        try:
            moment = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return moment.toordinal() - EPOCH
    return _iso_day(text) if ISO.fullmatch(text) else None


def _iso_day(text: str) -> int | None:
    try:
        return date.fromisoformat(text[:10]).toordinal() - EPOCH
    except ValueError:
        return None


def _as_numbers(texts: Column) -> Column:
    """Float64, null where a text is no finite number."""
    plain: Column = compute.match_substring_regex(texts, pattern=BARE_NUMBER)
    if compute.all(plain, min_count=0).as_py():
        return texts.cast(pa.float64())
    bare = texts
    for pattern, kept in (*CURRENCY, BRACKETS):
        bare = compute.replace_substring_regex(bare, pattern=pattern, replacement=kept)
    fits = compute.match_substring_regex(bare, pattern=NUMBER)
    digits = compute.replace_substring_regex(bare, pattern=r"[+,\s]", replacement="")
    nothing = pa.scalar(None, pa.string())
    values = compute.if_else(fits, digits, nothing).cast(pa.float64())
    finite: Column = compute.if_else(compute.is_finite(values), values, pa.scalar(None, pa.float64()))
    return finite


def _in_case(texts: Column, case: str | None) -> Column:
    if case is None:
        return texts
    changed: Column = compute.utf8_lower(texts) if case == "lower" else compute.utf8_upper(texts)
    return changed
