"""Rows of the claims' file with what other files beside it say of them."""

from __future__ import annotations

from collections.abc import Mapping as Lookup
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stream.errors import UsageError
from stream.publishing.arrow_calls import Column, booleans, column, compute
from stream.publishing.file_kinds import SUFFIXES
from stream.publishing.headers import matching
from stream.publishing.mapping import Headers, Mapping, Table
from stream.publishing.raw_rows import Details, Numbers, RawRows, text_column
from stream.publishing.rejects import Reject
from stream.publishing.row_files import read_rows


def read_joined(path: Path, mapping: Mapping) -> RawRows:
    """The mapping's columns, those of its tables under `table.column`.

    A table of many rows gives a row for each of them, and for each claim that has none; one of its rows that belongs
    to no claim is a reject. Raises UsageError for a table that is not there, does not fit, or has a key twice.
    """
    wanted = mapping.columns()
    own = {name: key for name, key in wanted.items() if mapping.table_of(name) is None}
    for alias, table in mapping.tables.items():
        own.setdefault(table.matches, f"tables.{alias}.matches")
    identity = [name for name in mapping.claim.claim_id.columns if name in own]
    rows = read_rows(path, own, mapping.format, _headers(mapping, None), identity)
    outcomes = {match for name in mapping.outcomes for match in matching(name, rows.unread, mapping.headers)}
    rows = replace(rows, unread=tuple(name for name in rows.unread if name not in outcomes))
    for alias, table in mapping.tables.items():
        rows = _Join(path, mapping, alias, table).applied(rows)
    return rows


def found_table(path: Path, table: Table) -> Path | None:
    """A table's file, if it is there: its name with any known ending, packed or not, beside the claims' file."""
    names = [f"{table.file}{suffix}{packed}" for suffix in SUFFIXES for packed in ("", ".gz")]
    return next((place for name in names if (place := path.with_name(name)).exists()), None)


def place_of(path: Path, alias: str, table: Table) -> Path:
    """The same. Raises UsageError where it is not there."""
    if (place := found_table(path, table)) is not None:
        return place
    raise UsageError(
        f"{path} needs {table.file}.csv beside it (tables.{alias} of the mapping), also packed or of another kind;"
        f" {path.parent} has none"
    )


@dataclass(frozen=True, slots=True)
class _Join:
    path: Path
    mapping: Mapping
    alias: str
    table: Table

    def applied(self, rows: RawRows) -> RawRows:
        place = place_of(self.path, self.alias, self.table)
        found = self._read(place)
        keys = found.columns[self.table.key]
        if self.table.many:
            return self._with_many(rows, found, keys, place)
        self._check_unique(keys, found.numbers, place, self.table.key)
        match = compute.index_in(rows.columns[self.table.matches], value_set=keys.drop_null())
        places = column(_positions(keys), pa.int64()).take(match)
        return replace(
            rows,
            columns={**rows.columns, **self._taken(found, places)},
            rejects=(*rows.rejects, *found.rejects),
        )

    def _read(self, place: Path) -> RawRows:
        """The rows that `where` lets through; what is wrong with others is told with the table's name."""
        wanted = {
            name.partition(".")[2]: key
            for name, key in self.mapping.columns().items()
            if self.mapping.table_of(name) == self.alias
        }
        wanted.setdefault(self.table.key, f"tables.{self.alias}.key")
        for name in self.table.where:
            wanted.setdefault(name, f"tables.{self.alias}.where")
        identity = (self.table.key,) if self.table.many else ()
        rows = read_rows(place, wanted, self.mapping.format, _headers(self.mapping, self.alias), identity)
        rejects = tuple(replace(reject, reason=f"{place.name}: {reject.reason}") for reject in rows.rejects)
        kept = np.ones(len(rows.numbers), dtype=np.bool_)
        for name, values in self.table.where.items():
            allowed = column(list(values), pa.string())
            kept &= booleans(compute.is_in(rows.columns[name], value_set=allowed))
        columns = {name: values.filter(column(kept)) for name, values in rows.columns.items()}
        return RawRows(columns, rows.numbers[kept], rejects, lost=rows.lost)

    def _with_many(self, rows: RawRows, found: RawRows, keys: Column, place: Path) -> RawRows:
        on = rows.columns[self.table.matches]
        self._check_unique(on, rows.numbers, self.path, self.table.matches)
        match = compute.index_in(keys, value_set=on.drop_null())
        owned = booleans(match.is_valid())
        owners = _positions(on)[compute.fill_null(match, 0).to_numpy(zero_copy_only=False)[owned]]
        alone = np.setdiff1d(np.arange(len(rows.numbers)), owners)
        left = np.concatenate([owners, alone])
        right = np.concatenate([np.flatnonzero(owned), np.full(len(alone), -1)])
        order = np.lexsort((right, left))
        left, right = left[order], right[order]
        columns = {name: values.take(column(left)) for name, values in rows.columns.items()}
        numbers = np.where(right < 0, 0, found.numbers[right] if len(found.numbers) else 0)
        orphans = self._orphans(found, keys, ~owned, place)
        return RawRows(
            columns={**columns, **self._taken(found, column(right, mask=right < 0))},
            numbers=rows.numbers[left],
            rejects=(*rows.rejects, *found.rejects, *orphans),
            details=Details(place.name, numbers),
            lost={**self._lost(rows, found.lost, place), **rows.lost},
            unread=rows.unread,
        )

    def _lost(self, rows: RawRows, lost: Lookup[str, str], place: Path) -> dict[str, str]:
        """The claims that damaged rows of the table belong to."""
        names = [name for name in self.mapping.claim.claim_id.columns if name in rows.columns]
        if not names:
            return {}
        ids = compute.coalesce(*(rows.columns[name] for name in names))
        owners = compute.index_in(text_column(list(lost)), value_set=rows.columns[self.table.matches])
        owned = zip(ids.take(owners).to_pylist(), lost.values(), strict=True)
        return {named: f"{place.name} {row}" for named, row in owned if named is not None}

    def _taken(self, found: RawRows, places: Column) -> dict[str, Column]:
        return {f"{self.alias}.{name}": values.take(places) for name, values in found.columns.items()}

    def _orphans(self, found: RawRows, keys: Column, lost: Any, place: Path) -> list[Reject]:
        return [
            Reject(
                int(found.numbers[row]),
                str(keys[row].as_py() or ""),
                f"{place.name}: no row of {self.path.name} has this {self.table.matches}",
            )
            for row in np.flatnonzero(lost).tolist()
        ]

    def _check_unique(self, keys: Column, numbers: Numbers, place: Path, name: str) -> None:
        given = keys.drop_null()
        if len(given.unique()) == len(given):
            return
        seen: dict[str, int] = {}
        for number, key in zip(numbers.tolist(), keys.to_pylist(), strict=True):
            if key is not None and key in seen:
                raise UsageError(
                    f"{place} has the {name} {key} twice (rows {seen[key]} and {number}), and"
                    f" tables.{self.alias} joins by it: leave one of them out"
                )
            seen[key] = number


def _headers(mapping: Mapping, alias: str | None) -> Headers:
    """What is said of the columns of one file, under the names that it knows."""
    names: Lookup[str, str] = {
        name: name if alias is None else name.partition(".")[2]
        for name in (*mapping.headers.also, *mapping.headers.optional)
        if mapping.table_of(name) == alias
    }
    return Headers(
        match=mapping.headers.match,
        also={names[name]: others for name, others in mapping.headers.also.items() if name in names},
        optional=tuple(names[name] for name in mapping.headers.optional if name in names),
    )


def _positions(keys: Column) -> Numbers:
    """Where those keys stand that are not null."""
    return np.flatnonzero(booleans(keys.is_valid()))
