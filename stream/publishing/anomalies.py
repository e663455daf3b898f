"""Plants the labelled anomalies: each changes or adds lines, so that the claim alone shows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stream.publishing.catalog import NONE, Catalog, Integers
from stream.publishing.claim_lines import Lines, first_of, join, rank_within
from stream.publishing.encounters import INSTITUTIONAL, PHARMACY, Diagnoses, Encounters
from stream.publishing.services import justified_level, priced

LABELS = ("none", "upcoding", "duplicate", "unbundling", "impossible")
NORMAL, UPCODING, DUPLICATE, UNBUNDLING, IMPOSSIBLE = range(5)
RATES = (0.055, 0.020, 0.024, 0.018)
MOST_PARTS = 3


def plant(
    rng: np.random.Generator, catalog: Catalog, encounters: Encounters, lines: Lines
) -> tuple[Integers, Diagnoses, Lines]:
    """Labels (index in LABELS) of the block's claims; the diagnoses and lines with the anomalies in them."""
    labels = _labels(rng, catalog, encounters, lines)
    lines = _upcode(rng, catalog, encounters, lines, labels)
    doubled = _duplicates(rng, lines, labels)
    unbundled = _unbundled(rng, catalog, encounters, lines, np.flatnonzero(labels == UNBUNDLING))
    excessive = (rng.random(len(encounters)) < 0.35) | (encounters.kind == PHARMACY)
    lines = _exceed(rng, catalog, lines, np.flatnonzero((labels == IMPOSSIBLE) & excessive))
    contradicted = np.flatnonzero((labels == IMPOSSIBLE) & ~excessive)
    diagnoses, contradicting = _contradict(rng, catalog, encounters, contradicted)
    return labels, diagnoses, join(lines, doubled, unbundled, contradicting).in_order()


def _labels(rng: np.random.Generator, catalog: Catalog, encounters: Encounters, lines: Lines) -> Integers:
    """A kind for each claim; one that cannot carry its kind stays honest."""
    kind = np.searchsorted(np.cumsum(RATES), rng.random(len(encounters)), side="right")
    labels = np.asarray([UPCODING, DUPLICATE, UNBUNDLING, IMPOSSIBLE, NORMAL])[kind]
    visited = np.zeros(len(encounters), dtype=np.bool_)
    visited[lines.claim[_visits(catalog, lines)]] = True
    modest = visited & (justified_level(catalog, encounters) < 3.5)
    labels = np.where((labels == UPCODING) & ~modest, NORMAL, labels)
    return np.where((labels == UNBUNDLING) & (encounters.kind == PHARMACY), NORMAL, labels)


def _visits(catalog: Catalog, lines: Lines) -> Integers:
    """Rows that bill a visit."""
    billed = np.flatnonzero(lines.procedure != NONE)
    return billed[catalog.visit_level[lines.procedure[billed]] > 0]


def _one_row_a_claim(rng: np.random.Generator, lines: Lines, claims: Integers) -> Integers:
    """A random row of each claim, ascending."""
    rows = rng.permutation(np.flatnonzero(np.isin(lines.claim, claims)))
    return np.sort(rows[first_of(lines.claim[rows])])


def _upcode(
    rng: np.random.Generator, catalog: Catalog, encounters: Encounters, lines: Lines, labels: Integers
) -> Lines:
    """Visits two or three levels above what the diagnoses justify."""
    visits = _visits(catalog, lines)
    rows = visits[labels[lines.claim[visits]] == UPCODING]
    claim = lines.claim[rows]
    raised = np.rint(justified_level(catalog, encounters)[claim]) + 2 + (rng.random(len(rows)) < 0.5)
    level = np.minimum(raised, 5).astype(np.int64)
    place = (catalog.visits[None] == lines.procedure[rows][:, None, None]).any(axis=2).argmax(axis=1)
    procedure, charge = lines.procedure.copy(), lines.charge.copy()
    procedure[rows] = catalog.visits[place, level - 1]
    charge[rows] = priced(rng, catalog, encounters, claim, procedure[rows], lines.units[rows])
    return replace(lines, procedure=procedure, charge=charge)


def _duplicates(rng: np.random.Generator, lines: Lines, labels: Integers) -> Lines:
    """One line of each claim once or twice more: to the cent, or nearly."""
    chosen = _one_row_a_claim(rng, lines, np.flatnonzero(labels == DUPLICATE))
    chosen = np.repeat(chosen, 1 + (rng.random(len(chosen)) < 0.4))
    copies = lines.take(chosen)
    near = np.where(rng.random(len(copies)) < 0.25, 1 + 0.04 * (rng.random(len(copies)) - 0.5), 1.0)
    return replace(copies, charge=np.round(copies.charge * near, 2), place=rng.random(len(copies)))


def _unbundled(
    rng: np.random.Generator, catalog: Catalog, encounters: Encounters, lines: Lines, claims: Integers
) -> Lines:
    """One to three components of the panel that the claim bills; without one it gets a common panel."""
    width = len(catalog.procedures)
    present = lines.claim * width + lines.procedure
    panel, missing = _panels_of(rng, catalog, lines, claims)
    owner = np.repeat(np.arange(len(claims)), rng.integers(1, MOST_PARTS + 1, len(claims)))
    part = catalog.panels.draw(panel[owner], rng.random(len(owner)))
    key = claims[owner] * width + part
    fresh = np.unique(key[~np.isin(key, present)])
    claim = np.concatenate([claims[missing], fresh // width])
    return _added(rng, catalog, encounters, claim, np.concatenate([panel[missing], fresh % width]))


def _panels_of(
    rng: np.random.Generator, catalog: Catalog, lines: Lines, claims: Integers
) -> tuple[Integers, Integers]:
    """The panel of each claim, and which of the claims do not bill it yet (indices into `claims`)."""
    panels = np.unique(catalog.panels.owners)
    common = panels[np.isin(panels, catalog.common.items)]
    panel = common[rng.integers(0, len(common), len(claims))]
    rows = np.flatnonzero(np.isin(lines.procedure, panels) & np.isin(lines.claim, claims))
    rows = rows[first_of(lines.claim[rows])]
    billed = np.searchsorted(claims, lines.claim[rows])
    panel[billed] = lines.procedure[rows]
    return panel, np.setdiff1d(np.arange(len(claims)), billed)


def _exceed(rng: np.random.Generator, catalog: Catalog, lines: Lines, claims: Integers) -> Lines:
    """One line of each claim with more units than a day (or a fill) allows."""
    rows = _one_row_a_claim(rng, lines, claims)
    bare = lines.procedure[rows] == NONE
    most = np.where(
        bare, catalog.facility_units[lines.revenue[rows]], catalog.most_units[lines.procedure[rows]]
    )
    units, charge = lines.units.copy(), lines.charge.copy()
    units[rows] = np.floor(most * rng.uniform(2.5, 8.0, len(rows))) + 1
    factor = np.where(rng.random(len(rows)) < 0.6, units[rows] / lines.units[rows], 1.0)
    charge[rows] = np.round(charge[rows] * factor, 2)
    return replace(lines, units=units, charge=charge)


def _contradict(
    rng: np.random.Generator, catalog: Catalog, encounters: Encounters, claims: Integers
) -> tuple[Diagnoses, Lines]:
    """A diagnosis and a procedure that exclude each other."""
    kinds = len(catalog.contradiction_diagnoses.starts) - 1
    kind = rng.integers(0, kinds, len(claims))
    code = catalog.contradiction_diagnoses.draw(kind, rng.random(len(claims)))
    procedure = catalog.contradiction_procedures.draw(kind, rng.random(len(claims)))
    diagnoses = _inserted(rng, encounters, claims, code, len(catalog.diagnoses))
    return diagnoses, _added(rng, catalog, encounters, claims, procedure)


def _inserted(
    rng: np.random.Generator, encounters: Encounters, claims: Integers, code: Integers, width: int
) -> Diagnoses:
    """The diagnoses with one more for each of `claims`, at a random place, unless it is there already."""
    old = encounters.diagnoses
    ranks = rank_within(old.claim, len(encounters)).astype(np.float64)
    sizes = np.bincount(old.claim, minlength=len(encounters))[claims]
    claim = np.concatenate([old.claim, claims])
    every = np.concatenate([old.code, code])
    place = np.concatenate([ranks, rng.random(len(claims)) * (sizes + 1) - 0.5])
    kept = first_of(claim * width + every)
    order = kept[np.lexsort((place[kept], claim[kept]))]
    return Diagnoses(claim[order], every[order])


def _added(
    rng: np.random.Generator, catalog: Catalog, encounters: Encounters, claim: Integers, procedure: Integers
) -> Lines:
    """Lines of one unit at the usual price."""
    units = np.ones(len(claim))
    hospital = encounters.kind[claim] == INSTITUTIONAL
    charge = priced(rng, catalog, encounters, claim, procedure, units)
    revenue = np.where(hospital, catalog.revenue_of[procedure], NONE)
    return Lines(claim, procedure, revenue, units, charge, rng.random(len(claim)))
