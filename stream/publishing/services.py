"""What was done and billed: the careless lines of a block."""

from __future__ import annotations

import numpy as np

from stream.publishing.catalog import NONE, Booleans, Catalog, Floats, Integers
from stream.publishing.claim_lines import Lines, first_of, join, rank_within
from stream.publishing.encounters import INSTITUTIONAL, PHARMACY, PROFESSIONAL, Encounters

MOST_LINES = 16  # the planted anomalies may add four
OFFICE, FIRST, EMERGENCY = 0, 1, 2


def draw_services(rng: np.random.Generator, catalog: Catalog, encounters: Encounters) -> Lines:
    visits = _draw_visits(rng, catalog, encounters)
    others = _draw_others(rng, catalog, encounters, visits)
    lines = join(visits, others, _legitimate_repeats(rng, catalog, encounters, others))
    lines = lines.in_order()
    return lines.take(np.flatnonzero(rank_within(lines.claim, len(encounters)) < MOST_LINES))


def priced(
    rng: np.random.Generator,
    catalog: Catalog,
    encounters: Encounters,
    claim: Integers,
    procedure: Integers,
    units: Floats,
) -> Floats:
    """Charges: log-normal about the procedure's median, dearer in hospitals and at dear providers."""
    spread = np.exp(0.18 * rng.standard_normal(len(claim)))
    place = np.where(encounters.kind[claim] == INSTITUTIONAL, 1.7, 1.0)
    timed = np.where(catalog.most_units[procedure] > 1, units, 1.0)
    return np.round(catalog.charges[procedure] * spread * place * encounters.dearness[claim] * timed, 2)


def justified_level(catalog: Catalog, encounters: Encounters) -> Floats:
    """The visit level, 1..5 and not rounded, that number and severity of a claim's diagnoses justify."""
    count = len(encounters)
    claim, code = encounters.diagnoses.claim, encounters.diagnoses.code
    sizes = np.bincount(claim, minlength=count)
    severest = np.zeros(count)
    np.maximum.at(severest, claim, catalog.severity[code])
    return np.clip(1.3 + 2.6 * severest + 0.28 * np.maximum(sizes - 1, 0), 1, 5)


def _draw_visits(rng: np.random.Generator, catalog: Catalog, encounters: Encounters) -> Lines:
    draws = rng.random((3, len(encounters)))
    rate = np.asarray([0.72, 0.25, 0.0])[encounters.kind]
    claim = np.flatnonzero(draws[0] < rate)
    noise = 0.33 * rng.standard_normal(len(claim)) + np.where(draws[2][claim] < 0.04, 1.0, 0.0)
    level = np.clip(np.rint(justified_level(catalog, encounters)[claim] + noise), 1, 5).astype(np.int64)
    where = np.where(draws[1][claim] < 0.15, FIRST, OFFICE)
    where = np.where(encounters.kind[claim] == INSTITUTIONAL, EMERGENCY, where)
    procedure = catalog.visits[where, level - 1]
    units = np.ones(len(claim))
    return Lines(
        claim=claim,
        procedure=procedure,
        revenue=_revenue(catalog, encounters, claim, procedure),
        units=units,
        charge=priced(rng, catalog, encounters, claim, procedure, units),
        place=np.full(len(claim), -1.0),
    )


def _revenue(catalog: Catalog, encounters: Encounters, claim: Integers, procedure: Integers) -> Integers:
    return np.where(encounters.kind[claim] == INSTITUTIONAL, catalog.revenue_of[procedure], NONE)


def _sizes(rng: np.random.Generator, encounters: Encounters, visited: Booleans) -> Integers:
    """How many lines beside the visit: heavy-tailed, at least one line a claim."""
    count = len(encounters)
    median = np.asarray([1.7, 5.0, 0.9])[encounters.kind]
    spread = np.asarray([0.75, 0.75, 0.35])[encounters.kind]
    sizes = np.rint(median * np.exp(spread * rng.standard_normal(count))).astype(np.int64)
    bounded: Integers = np.clip(sizes, np.where(visited, 0, 1), 18)
    return bounded


def _draw_others(rng: np.random.Generator, catalog: Catalog, encounters: Encounters, visits: Lines) -> Lines:
    """Procedures, drugs and, in hospitals, lines with a revenue code alone; none twice on a claim."""
    count = len(encounters)
    visited = np.bincount(visits.claim, minlength=count) > 0
    claim = np.repeat(np.arange(count), _sizes(rng, encounters, visited))
    procedure = _procedures(rng, catalog, encounters, claim)
    bare = (encounters.kind[claim] == INSTITUTIONAL) & (rng.random(len(claim)) < 0.35)
    facility = catalog.facility.draw(np.zeros_like(claim), rng.random(len(claim)))
    kept = first_of(claim * 4096 + np.where(bare, 2048 + facility, procedure))
    careless = rng.random(len(claim)) < 0.1
    beside = _component_beside_panel(catalog, count, claim[kept], procedure[kept], bare[kept])
    kept = kept[careless[kept] | ~beside]
    billed, stay = kept[~bare[kept]], kept[bare[kept]]
    return join(
        _procedure_lines(rng, catalog, encounters, claim[billed], procedure[billed]),
        _facility_lines(rng, catalog, claim[stay], facility[stay]),
    )


def _procedures(
    rng: np.random.Generator, catalog: Catalog, encounters: Encounters, claim: Integers
) -> Integers:
    draws = rng.random((2, len(claim)))
    group = encounters.group[claim]
    own = catalog.group_procedures.draw(group, draws[0])
    common = catalog.common.draw(np.zeros_like(claim), draws[0])
    drug = catalog.group_drugs.draw(group, draws[0])
    return np.where(encounters.kind[claim] == PHARMACY, drug, np.where(draws[1] < 0.72, own, common))


def _procedure_lines(
    rng: np.random.Generator, catalog: Catalog, encounters: Encounters, claim: Integers, procedure: Integers
) -> Lines:
    units = _units(rng, catalog, encounters.kind[claim], procedure)
    charge = priced(rng, catalog, encounters, claim, procedure, units)
    revenue = _revenue(catalog, encounters, claim, procedure)
    return Lines(claim, procedure, revenue, units, charge, rng.random(len(claim)))


def _facility_lines(rng: np.random.Generator, catalog: Catalog, claim: Integers, facility: Integers) -> Lines:
    units = 1 + np.floor(rng.random(len(claim)) ** 2 * catalog.facility_units[facility])
    charge = catalog.facility_charges[facility] * units * np.exp(0.3 * rng.standard_normal(len(claim)))
    procedure = np.full(len(claim), NONE)
    return Lines(claim, procedure, facility, units, np.round(charge, 2), rng.random(len(claim)))


def _component_beside_panel(
    catalog: Catalog, count: int, claim: Integers, procedure: Integers, bare: Booleans
) -> Booleans:
    """Lines whose panel is on the same claim; most billers leave them out."""
    billed = np.zeros((count, int(catalog.panel_number.max()) + 1), dtype=np.bool_)
    billed[claim[~bare], catalog.panel_number[procedure[~bare]]] = True
    billed[:, 0] = False
    return billed[claim[:, None], catalog.panels_around[procedure]].any(axis=1) & ~bare


def _units(rng: np.random.Generator, catalog: Catalog, kind: Integers, procedure: Integers) -> Floats:
    most = catalog.most_units[procedure]
    units = 1 + np.floor(rng.random(len(kind)) ** 2.5 * most)
    units = np.minimum(units, most) + (rng.random(len(kind)) < 0.005)
    supply = np.asarray([30.0, 30.0, 60.0, 90.0, 90.0, 180.0])[rng.integers(0, 6, len(kind))]
    return np.where(kind == PHARMACY, supply, units)


def _legitimate_repeats(
    rng: np.random.Generator, catalog: Catalog, encounters: Encounters, lines: Lines
) -> Lines:
    """Some procedures are done twice (both sides, a second round) and billed at a price of their own."""
    rows = np.flatnonzero((rng.random(len(lines)) < 0.012) & (lines.procedure != NONE))
    chosen = lines.take(rows)
    units = np.where(encounters.kind[chosen.claim] == PROFESSIONAL, 1.0, chosen.units)
    charge = priced(rng, catalog, encounters, chosen.claim, chosen.procedure, units)
    return Lines(chosen.claim, chosen.procedure, chosen.revenue, units, charge, rng.random(len(rows)))
