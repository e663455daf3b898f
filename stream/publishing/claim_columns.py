"""Index columns of a generated block become the Arrow columns of claim_event."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from stream.publishing.anomalies import LABELS
from stream.publishing.arrow_calls import Column, column, compute, date_column, list_column, map_column
from stream.publishing.catalog import NONE, SEXES, Catalog, Integers
from stream.publishing.claim_lines import Lines
from stream.publishing.claim_schema import claim_schema
from stream.publishing.encounters import (
    CLAIM_TYPES,
    MEMBERS,
    PROVIDERS_PER_SPECIALTY,
    Diagnoses,
    Encounters,
)

ATTRIBUTES = ("anomaly", "sex", "age", "specialty")
OLDEST = 120


class ClaimColumns:
    """Holds the names of everything once; a block then takes from them by index."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._schema = claim_schema()
        self._types = column(CLAIM_TYPES)
        self._members = numbered("M", 0, MEMBERS)
        providers = len(catalog.specialties) * PROVIDERS_PER_SPECIALTY
        self._providers = column([f"1{number * 7919 % 10**9:09d}" for number in range(1, providers + 1)])
        self._diagnoses = column(catalog.diagnoses)
        self._procedures = column(catalog.procedures)
        self._revenue = column(catalog.revenue)
        self._keys = column(ATTRIBUTES)
        self._values = column([*LABELS, *SEXES, *map(str, range(OLDEST)), *catalog.specialties])

    def to_arrow(
        self,
        prefix: str,
        first: int,
        encounters: Encounters,
        diagnoses: Diagnoses,
        lines: Lines,
        labels: Integers,
    ) -> pa.RecordBatch:
        columns = {
            "claim_id": numbered(prefix, first, len(encounters), 8),
            "claim_type": self._types.take(column(encounters.kind)),
            "member_id": self._members.take(column(encounters.member)),
            "provider_id": self._providers.take(column(encounters.provider)),
            "service_date": date_column(encounters.service_day),
            "received_date": date_column(encounters.received_day),
            "codes": self._codes(diagnoses, len(encounters)),
            "lines": self._lines(lines, len(encounters)),
            "attributes": self._attributes(encounters, labels),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in self._schema.names], schema=self._schema)

    def _codes(self, diagnoses: Diagnoses, count: int) -> Column:
        members = [
            pa.repeat("icd-10-cm", len(diagnoses.claim)),
            self._diagnoses.take(column(diagnoses.code)),
        ]
        return list_column(_offsets(diagnoses.claim, count), members, self._schema.field("codes").type)

    def _lines(self, lines: Lines, count: int) -> Column:
        members = [
            self._procedures.take(_indices(lines.procedure)),
            self._revenue.take(_indices(lines.revenue)),
            column(lines.units),
            column(lines.charge),
        ]
        return list_column(_offsets(lines.claim, count), members, self._schema.field("lines").type)

    def _attributes(self, encounters: Encounters, labels: Integers) -> Column:
        count, width = len(encounters), len(ATTRIBUTES)
        values = np.empty((count, width), dtype=np.int64)
        values[:, 0] = labels
        values[:, 1] = len(LABELS) + encounters.sex
        values[:, 2] = len(LABELS) + len(SEXES) + encounters.age
        values[:, 3] = len(LABELS) + len(SEXES) + OLDEST + self.catalog.specialty_of[encounters.group]
        keys = self._keys.take(column(np.tile(np.arange(width), count)))
        offsets = np.arange(0, (count + 1) * width, width)
        taken = self._values.take(column(values.ravel()))
        return map_column(offsets, keys, taken, self._schema.field("attributes").type)


def numbered(prefix: str, first: int, count: int, digits: int = 7) -> Column:
    """prefix + number, padded with zeros, for `count` numbers from `first`."""
    numbers = compute.utf8_lpad(
        column(np.arange(first, first + count)).cast(pa.string()), digits, padding="0"
    )
    built: Column = compute.binary_join_element_wise(prefix, numbers, "")
    return built


def _indices(rows: Integers) -> Column:
    return column(rows, mask=rows == NONE)


def _offsets(owners: Integers, count: int) -> Integers:
    """List offsets of entries whose owners ascend."""
    return np.searchsorted(owners, np.arange(count + 1))
