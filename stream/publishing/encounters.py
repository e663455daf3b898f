"""Who met whom and why: the claim-level columns of a block, with diagnoses that fit the member."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream.publishing.catalog import Booleans, Catalog, Floats, Integers
from stream.publishing.claim_lines import first_of, rank_within

PROFESSIONAL, INSTITUTIONAL, PHARMACY = 0, 1, 2
CLAIM_TYPES = ("professional", "institutional", "pharmacy")
MEMBERS = 60_000
PROVIDERS_PER_SPECIALTY = 150
MOST_DIAGNOSES = 12
FIRST_DAY = 19_723  # 2024-01-01, in days since 1970-01-01
DAYS = 730


@dataclass(frozen=True, slots=True)
class Diagnoses:
    """One entry a diagnosis, ascending by claim, most important first."""

    claim: Integers
    code: Integers


@dataclass(frozen=True, slots=True)
class Encounters:
    """One entry a claim."""

    kind: Integers
    member: Integers
    sex: Integers
    age: Integers
    profile: Integers
    group: Integers
    provider: Integers
    dearness: Floats
    service_day: Integers
    received_day: Integers
    diagnoses: Diagnoses

    def __len__(self) -> int:
        return len(self.kind)


def draw_encounters(rng: np.random.Generator, catalog: Catalog, count: int) -> Encounters:
    kind = np.searchsorted([0.62, 0.80], rng.random(count), side="right")
    member = (MEMBERS * rng.random(count) ** 1.7).astype(np.int64)
    sex, band, age = _people(catalog, member)
    profile = sex * len(catalog.band_weights) + band
    group = _conditions(rng, catalog, member, profile)
    provider = catalog.specialty_of[group] * PROVIDERS_PER_SPECIALTY
    provider = provider + (PROVIDERS_PER_SPECIALTY * rng.random(count) ** 2).astype(np.int64)
    service_day = FIRST_DAY + _weekdays(rng, count)
    lag = np.minimum(1 + rng.lognormal(1.6, 0.8, count), 180).astype(np.int64)
    return Encounters(
        kind=kind,
        member=member,
        sex=sex,
        age=age,
        profile=profile,
        group=group,
        provider=provider,
        dearness=np.exp(0.3 * (_hashed(provider, 7) - 0.5)),
        service_day=service_day,
        received_day=service_day + lag,
        diagnoses=_draw_diagnoses(rng, catalog, kind, group, profile),
    )


def _hashed(values: Integers, salt: int) -> Floats:
    """A fixed uniform in [0, 1) of each value (splitmix64's finalizer), so that a member keeps its person."""
    mixed = values.astype(np.uint64) + np.uint64((salt * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _people(catalog: Catalog, member: Integers) -> tuple[Integers, Integers, Integers]:
    sex = (_hashed(member, 1) >= 0.53).astype(np.int64)
    band = np.searchsorted(catalog.band_weights[:-1], _hashed(member, 2), side="right")
    least, most = catalog.band_ages[band, 0], catalog.band_ages[band, 1]
    age = least + (_hashed(member, 3) * (most - least + 1)).astype(np.int64)
    return sex, band, age


def _conditions(rng: np.random.Generator, catalog: Catalog, member: Integers, profile: Integers) -> Integers:
    """Half of the time what the member always has, else something that fits sex and age."""
    chronic = catalog.group_weights.draw(profile, _hashed(member, 4))
    passing = catalog.group_weights.draw(profile, rng.random(len(member)))
    return np.where(rng.random(len(member)) < 0.5, chronic, passing)


def _weekdays(rng: np.random.Generator, count: int) -> Integers:
    """Days from the first day (a Monday); a weekend's visit is moved to the Monday three times in four."""
    day = rng.integers(0, DAYS, count)
    weekend = (day % 7 >= 5) & (rng.random(count) < 0.75)
    return day + np.where(weekend, 7 - day % 7, 0)


def _draw_diagnoses(
    rng: np.random.Generator, catalog: Catalog, kind: Integers, group: Integers, profile: Integers
) -> Diagnoses:
    count = len(kind)
    sizes = np.minimum(rng.geometric(0.42, count) + np.where(kind == INSTITUTIONAL, 2, 0), MOST_DIAGNOSES)
    sizes = np.where((kind == PHARMACY) & (rng.random(count) < 0.7), 0, sizes)
    claim = np.repeat(np.arange(count), sizes)
    draws = rng.random((4, len(claim)))
    comorbid = (rank_within(claim, count) > 0) & (draws[0] < 0.45)
    groups = np.where(comorbid, catalog.group_weights.draw(profile[claim], draws[1]), group[claim])
    code = catalog.group_diagnoses.draw(groups, draws[2])
    code = np.where(
        _histories(claim, count, draws[3]), catalog.histories.draw(profile[claim], draws[0]), code
    )
    kept = first_of(claim * len(catalog.diagnoses) + code)
    return Diagnoses(claim[kept], code[kept])


def _histories(claim: Integers, count: int, uniforms: Floats) -> Booleans:
    return (rank_within(claim, count) > 0) & (uniforms < 0.12)
