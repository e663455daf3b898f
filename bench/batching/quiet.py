"""What decisions cost in real time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.batching.cases import BUDGETS, CURVES, LIMITS, capacity
from bench.batching.simulator import Reading, Simulated, World, simulate
from stream.batching import BatchingRules
from stream.cost_model import LatencyCurve
from stream.publishing.arrivals import first_times
from stream.publishing.patterns import Poisson

_RATE = 10_000.0
# Polls as in service, and about what they take there.
_READING = Reading(poll=2_000, coalesce=0.003, seconds=LatencyCurve(0.000_5, 0.000_005))


@dataclass(frozen=True, slots=True)
class Decisions:
    """Microseconds: the median of a batch, and of a batch for which claims were given up; the share of all the time."""

    batch: float
    planning: float
    share: float


def decisions(*, quick: bool) -> Decisions:
    """The least of several runs, each of which only something else on the machine could have slowed down."""
    curve, budgets, rounds = CURVES[1], BUDGETS, 3 if quick else 7
    claims = 5_000 if quick else 20_000
    steady = [_served(_RATE, budgets[1], claims) for _ in range(rounds)]
    behind = [_served(1.5 * capacity(curve, budgets[0]), budgets[0], claims) for _ in range(rounds)]
    return Decisions(
        min(float(np.median(each.decisions)) for each in steady) * 1e6,
        min(float(np.median(each.decisions[each.given_up > 0])) for each in behind) * 1e6,
        min(each.deciding / each.makespan for each in steady),
    )


def _served(rate: float, budget: float, claims: int) -> Simulated:
    times = first_times(Poisson().arrivals(rate, 1), claims)
    rules = BatchingRules(LIMITS, budget)
    return simulate(times, World((CURVES[1],)), rules, _READING, {0: CURVES[1]})
