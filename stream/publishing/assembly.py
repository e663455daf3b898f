"""Typed fields of rows, and the claim_event columns that groups of rows make of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.publishing.arrow_calls import (
    Column,
    booleans,
    column,
    compute,
    date_column,
    list_column,
    map_column,
)
from stream.publishing.claim_lines import first_of
from stream.publishing.claim_schema import claim_schema
from stream.publishing.fields import Fields
from stream.publishing.grouping import Groups
from stream.publishing.mapping import CodeSource, Mapping

Integers = npt.NDArray[np.int64]


class Assembly:
    """Reads every mapped field once, at construction; faults go to `fields`."""

    def __init__(self, mapping: Mapping, fields: Fields, claim_ids: Column) -> None:
        self._mapping = mapping
        self._fields = fields
        self._schema = claim_schema()
        claim, line = mapping.claim, mapping.line
        self.texts: dict[str, Column] = {
            "claim_id": claim_ids,
            "claim_type": fields.texts(claim.claim_type, "claim.claim_type"),
            "member_id": fields.texts(claim.member_id, "claim.member_id"),
            "provider_id": fields.texts(claim.provider_id, "claim.provider_id"),
        }
        self.service = fields.days(claim.service_date, "claim.service_date")
        self._received = fields.days(claim.received_date, "claim.received_date")
        self.order = fields.numbers(line.order if line else None, "line.order", np.inf)
        self._units = fields.numbers(line.units if line else None, "line.units", 1.0)
        self._charge = fields.numbers(line.charge if line else None, "line.charge", 0.0)
        self._procedure = fields.texts(line.procedure_code if line else None, "line.procedure_code")
        self._revenue = fields.texts(line.revenue_code if line else None, "line.revenue_code")
        self._attributes = {
            name: fields.texts(source, f"attributes.{name}") for name, source in mapping.attributes.items()
        }
        self._systems = [
            fields.texts(entry.system, f"codes.{number}.system") for number, entry in enumerate(mapping.codes)
        ]
        self._check_systems()

    def build(self, groups: Groups) -> pa.RecordBatch:
        columns = {name: groups.first_filled(values) for name, values in self.texts.items()}
        columns["service_date"] = date_column(groups.earliest(*self.service)[0])
        columns["received_date"] = date_column(*groups.earliest(*self._received))
        columns["codes"] = self._code_lists(groups)
        columns["lines"] = self._line_lists(groups)
        columns["attributes"] = self._attribute_maps(groups)
        return pa.RecordBatch.from_arrays([columns[name] for name in self._schema.names], schema=self._schema)

    def _check_systems(self) -> None:
        for number, (entry, system) in enumerate(zip(self._mapping.codes, self._systems, strict=True)):
            coded = np.zeros(len(system), dtype=np.bool_)
            for name in entry.columns:
                coded |= booleans(self._fields.column(name).is_valid())
            lacking = coded & booleans(system.is_null())
            key = f"codes.{number}.system"
            self._fields.faults.add(lacking, lambda _, key=key: f"{key}: codes without a code system")  # type: ignore[misc]

    def _code_lists(self, groups: Groups) -> Column:
        """The distinct codes of each claim, in the order of its lines, sources and columns."""
        kind = self._schema.field("codes").type
        parts = [
            self._codes_of(groups, entry, system)
            for entry, system in zip(self._mapping.codes, self._systems, strict=True)
        ]
        claims = np.concatenate([part[0] for part in parts] or [np.empty(0, dtype=np.int64)])
        systems = pa.concat_arrays([part[1] for part in parts] or [column([], pa.string())])
        codes = pa.concat_arrays([part[2] for part in parts] or [column([], pa.string())])
        order = np.argsort(claims, kind="stable")
        claims = claims[order]
        systems, codes = systems.take(column(order)), codes.take(column(order))
        kept = first_of(_keys(claims, systems, codes))
        members = [systems.take(column(kept)), codes.take(column(kept))]
        return list_column(_offsets(claims[kept], groups.count), members, kind)

    def _codes_of(self, groups: Groups, entry: CodeSource, system: Column) -> tuple[Integers, Column, Column]:
        """Claim, system and code of every filled cell, in the order of rows and then columns."""
        rows = column(groups.rows)
        texts = [self._fields.codes(entry, name).take(rows) for name in entry.columns]
        filled = np.stack([booleans(values.is_valid()) for values in texts], axis=1)
        row, place = np.nonzero(filled)
        cells = pa.concat_arrays(texts).take(column(place * len(groups.rows) + row))
        claims, systems = groups.claims[row], system.take(rows).take(column(row))
        if entry.separator is None:
            return claims, systems, cells
        parts, codes = _split(cells, entry.separator)
        return claims[parts], systems.take(column(parts)), codes

    def _line_lists(self, groups: Groups) -> Column:
        rows = groups.rows if self._mapping.line is not None else groups.rows[:0]
        claims = groups.claims[: len(rows)]
        members = [
            self._procedure.take(column(rows)),
            self._revenue.take(column(rows)),
            column(self._units[rows]),
            column(self._charge[rows]),
        ]
        return list_column(_offsets(claims, groups.count), members, self._schema.field("lines").type)

    def _attribute_maps(self, groups: Groups) -> Column:
        kind = self._schema.field("attributes").type
        names = list(self._attributes)
        if not names:
            nothing = column([], pa.string())
            return map_column(np.zeros(groups.count + 1, dtype=np.int64), nothing, nothing, kind)
        texts = [groups.first_filled(values) for values in self._attributes.values()]
        filled = np.stack([booleans(values.is_valid()) for values in texts], axis=1)
        claim, place = np.nonzero(filled)
        values = pa.concat_arrays(texts).take(column(place * groups.count + claim))
        keys = column(names).take(column(place))
        return map_column(_offsets(claim, groups.count), keys, values, kind)


def _split(cells: Column, separator: str) -> tuple[Integers, Column]:
    """Every code of the cells, and the cell in which it stands."""
    lists = compute.split_pattern(cells, separator)
    codes = compute.utf8_trim_whitespace(lists.flatten())
    filled = booleans(compute.not_equal(codes, ""))
    cell = compute.list_parent_indices(lists).to_numpy()[filled]
    return cell.astype(np.int64), codes.filter(column(filled))


def _keys(claims: Integers, systems: Column, codes: Column) -> Integers:
    """Equal where claim, system and code are."""
    coded, named = codes.dictionary_encode(), systems.dictionary_encode()
    keys: Integers = claims * len(coded.dictionary) + np.asarray(coded.indices, dtype=np.int64)
    return keys * max(len(named.dictionary), 1) + np.asarray(named.indices, dtype=np.int64)


def _offsets(owners: Integers, count: int) -> Integers:
    return np.searchsorted(owners, np.arange(count + 1))
