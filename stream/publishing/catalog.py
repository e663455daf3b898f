"""The world of the generated claims, as arrays: condition groups, procedures, panels and contradictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

SEXES = ("female", "male")
DRUGS_PER_GROUP = 14
NONE = -1


@dataclass(frozen=True, slots=True)
class Choices:
    """For each owner a weighted choice among some items; `cumulative[i]` of owner o lies in (o, o + 1]."""

    items: Integers
    cumulative: Floats

    def draw(self, owners: Integers, uniforms: Floats) -> Integers:
        """One item for each owner; `uniforms` are in [0, 1)."""
        return self.items[np.searchsorted(self.cumulative, owners + uniforms, side="right")]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Some (owner, member) relation: members of owner o are members[starts[o]:starts[o + 1]]."""

    owners: Integers
    members: Integers
    starts: Integers

    def draw(self, owner_rows: Integers, uniforms: Floats) -> Integers:
        sizes = self.starts[owner_rows + 1] - self.starts[owner_rows]
        return self.members[self.starts[owner_rows] + (uniforms * sizes).astype(np.int64)]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Codes are known by their index in `diagnoses`, `procedures` (drugs come last) and `revenue`.

    `panel_number` counts the panels from 1 (0: not a panel); `panels_around[p]` lists, padded with 0, the
    numbers of the panels that contain procedure p.
    """

    diagnoses: tuple[str, ...]
    severity: Floats
    procedures: tuple[str, ...]
    charges: Floats
    most_units: Floats
    revenue_of: Integers
    revenue: tuple[str, ...]
    specialties: tuple[str, ...]
    specialty_of: Integers
    band_weights: Floats
    band_ages: Integers
    group_weights: Choices
    group_diagnoses: Choices
    group_procedures: Choices
    group_drugs: Choices
    histories: Choices
    common: Choices
    facility: Choices
    facility_charges: Floats
    facility_units: Floats
    visits: Integers
    visit_level: Integers
    panels: Pairs
    panel_number: Integers
    panels_around: Integers
    contradiction_diagnoses: Pairs
    contradiction_procedures: Pairs


@cache
def load_catalog() -> Catalog:
    """The shipped catalogue. Frozen, and the same for every caller."""
    text = files(__package__).joinpath("catalog.yaml").read_text(encoding="utf-8")
    return _Builder(yaml.safe_load(text)).build()


def zipf(count: int, exponent: float = 0.9) -> Floats:
    weights: Floats = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return weights


def _choices(rows: Iterable[tuple[Sequence[int], Floats]]) -> Choices:
    items: list[Integers] = []
    cumulative: list[Floats] = []
    for owner, (members, weights) in enumerate(rows):
        items.append(np.asarray(members, dtype=np.int64))
        steps = np.cumsum(weights / weights.sum())
        steps[-1] = 1.0
        cumulative.append(owner + steps)
    return Choices(np.concatenate(items), np.concatenate(cumulative))


def _pairs(rows: Sequence[tuple[int, Sequence[int]]], owners: int) -> Pairs:
    sizes = np.zeros(owners + 1, dtype=np.int64)
    for owner, members in rows:
        sizes[owner + 1] = len(members)
    ordered = sorted(rows, key=lambda row: row[0])
    every = np.concatenate([np.asarray(members, dtype=np.int64) for _, members in ordered])
    return Pairs(np.repeat(np.arange(owners), sizes[1:]), every, np.cumsum(sizes))


def _numbered(panels: Pairs) -> Integers:
    numbers = np.zeros(len(panels.starts) - 1, dtype=np.int64)
    owners = np.unique(panels.owners)
    numbers[owners] = np.arange(1, len(owners) + 1)
    return numbers


def _around(panels: Pairs) -> Integers:
    most = int(np.bincount(panels.members).max())
    around = np.zeros((len(panels.starts) - 1, most), dtype=np.int64)
    for panel, part in zip(_numbered(panels)[panels.owners], panels.members, strict=True):
        around[part, np.count_nonzero(around[part])] = panel
    return around


def _expanded(families: Sequence[str]) -> list[str]:
    return [f"{family}{digit}{tail}" for tail in ("", "9") for family in families for digit in range(10)]


class _Builder:
    """Turns names into indices; one use."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self._source = source
        self._groups: list[Mapping[str, Any]] = list(source["groups"].values())
        self._bands: list[str] = list(source["age_bands"])
        self._diagnosis: dict[str, int] = {}
        self._procedure: dict[str, int] = {code: i for i, code in enumerate(source["procedures"])}
        self._revenue: dict[str, int] = {}
        self._severity: list[float] = []

    def build(self) -> Catalog:
        group_diagnoses = [self._diagnoses_of(group) for group in self._groups]
        histories = [self._diagnosis_index(row[0], 0.3) for row in self._source["histories"]]
        charges, units, revenue_of = self._procedure_columns()
        drugs = [self._drugs_of(number) for number in range(len(self._groups))]
        facility = self._source["facility"]
        facility_choices = self._facility_choices()
        specialties = tuple(dict.fromkeys(group["specialty"] for group in self._groups))
        panels = self._panels()
        return Catalog(
            diagnoses=tuple(self._diagnosis),
            severity=np.asarray(self._severity),
            procedures=tuple(self._procedure),
            charges=charges,
            most_units=units,
            revenue_of=revenue_of,
            revenue=tuple(self._revenue),
            specialties=specialties,
            specialty_of=np.asarray([specialties.index(group["specialty"]) for group in self._groups]),
            band_weights=np.cumsum([self._source["age_weights"][band] for band in self._bands]),
            band_ages=np.asarray([self._source["age_bands"][band] for band in self._bands]),
            group_weights=_choices(self._groups_of_profiles()),
            group_diagnoses=_choices((rows, zipf(len(rows))) for rows in group_diagnoses),
            group_procedures=_choices(self._procedures_of_groups()),
            group_drugs=_choices((rows, zipf(DRUGS_PER_GROUP)) for rows in drugs),
            histories=_choices(self._histories_of_profiles(histories)),
            common=_choices([self._weighted(self._source["common_procedures"], 0.7)]),
            facility=facility_choices,
            facility_charges=self._by_revenue(facility, 0),
            facility_units=self._by_revenue(facility, 1),
            visits=np.asarray([[self._procedure[c] for c in row] for row in self._source["visits"].values()]),
            visit_level=self._visit_levels(),
            panels=panels,
            panel_number=_numbered(panels),
            panels_around=_around(panels),
            contradiction_diagnoses=self._contradictions("diagnoses", self._diagnosis),
            contradiction_procedures=self._contradictions("procedures", self._procedure),
        )

    def _diagnosis_index(self, code: str, severity: float) -> int:
        if code not in self._diagnosis:
            self._diagnosis[code] = len(self._diagnosis)
            self._severity.append(severity)
        return self._diagnosis[code]

    def _revenue_index(self, code: str) -> int:
        return self._revenue.setdefault(code, len(self._revenue))

    def _diagnoses_of(self, group: Mapping[str, Any]) -> list[int]:
        codes = [*group["diagnoses"], *_expanded(group["families"])]
        rows = [self._diagnosis_index(code, group["severity"]) for code in dict.fromkeys(codes)]
        return list(dict.fromkeys(rows))

    def _procedure_columns(self) -> tuple[Floats, Floats, Integers]:
        """Median charge, most units and revenue code of each procedure, then of each drug."""
        rows = list(self._source["procedures"].values())
        drugs = len(self._groups) * DRUGS_PER_GROUP
        charges = np.concatenate(
            [np.asarray([row[0] for row in rows], dtype=np.float64), self._drug_charges()]
        )
        units = np.concatenate(
            [np.asarray([row[1] for row in rows], dtype=np.float64), np.full(drugs, 360.0)]
        )
        revenue = np.asarray([self._revenue_index(row[2]) for row in rows])
        return charges, units, np.concatenate([revenue, np.full(drugs, NONE)])

    def _facility_choices(self) -> Choices:
        facility = self._source["facility"]
        rows = [self._revenue_index(code) for code in facility]
        return _choices([(rows, np.asarray([row[2] for row in facility.values()], dtype=np.float64))])

    def _contradictions(self, key: str, index: Mapping[str, int]) -> Pairs:
        rows = self._source["contradictions"]
        return _pairs([(i, [index[code] for code in row[key]]) for i, row in enumerate(rows)], len(rows))

    def _drugs_of(self, group: int) -> list[int]:
        codes = [f"{50090 + 37 * group:05d}{1001 + 83 * i:04d}{10 + i:02d}" for i in range(DRUGS_PER_GROUP)]
        return [self._procedure.setdefault(code, len(self._procedure)) for code in codes]

    def _drug_charges(self) -> Floats:
        """Median charge of one unit of each drug: a group's price, spread from a quarter to four times."""
        spread = (
            4.0 ** np.linspace(-1, 1, DRUGS_PER_GROUP)[(np.arange(DRUGS_PER_GROUP) * 5) % DRUGS_PER_GROUP]
        )
        return np.concatenate([group["drug_charge"] / 30 * spread for group in self._groups])

    def _groups_of_profiles(self) -> list[tuple[list[int], Floats]]:
        """A profile is sex * bands + band."""
        rows = []
        for sex in SEXES:
            for band in self._bands:
                fitting = [
                    number
                    for number, group in enumerate(self._groups)
                    if group["sex"] in ("any", sex) and band in group["ages"]
                ]
                rows.append((fitting, np.asarray([float(self._groups[g]["weight"]) for g in fitting])))
        return rows

    def _histories_of_profiles(self, histories: list[int]) -> list[tuple[list[int], Floats]]:
        rows = []
        for sex in SEXES:
            for number in range(len(self._bands)):
                fitting = [
                    index
                    for index, (_, needed, least) in zip(histories, self._source["histories"], strict=True)
                    if needed in ("any", sex) and self._bands.index(least) <= number
                ]
                rows.append((fitting, zipf(len(fitting), 0.3)))
        return rows

    def _weighted(self, codes: Sequence[str], exponent: float) -> tuple[list[int], Floats]:
        return [self._procedure[code] for code in codes], zipf(len(codes), exponent)

    def _procedures_of_groups(self) -> list[tuple[list[int], Floats]]:
        return [self._weighted(group["procedures"], 0.6) for group in self._groups]

    def _by_revenue(self, facility: Mapping[str, Sequence[float]], column: int) -> Floats:
        values = np.ones(len(self._revenue))
        for code, row in facility.items():
            values[self._revenue[code]] = row[column]
        return values

    def _visit_levels(self) -> Integers:
        """Level 1..5 of each procedure that is a visit, 0 for the others."""
        levels = np.zeros(len(self._procedure), dtype=np.int64)
        for row in self._source["visits"].values():
            for level, code in enumerate(row, start=1):
                levels[self._procedure[code]] = level
        return levels

    def _panels(self) -> Pairs:
        rows = [
            (self._procedure[panel], [self._procedure[code] for code in parts])
            for panel, parts in self._source["panels"].items()
        ]
        return _pairs(rows, len(self._procedure))
