"""What the pictures show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.batching.cases import BUDGETS, CURVES, LARGEST, LIMITS, Case, case
from bench.batching.optimum import most_on_time
from bench.batching.replay import Served
from bench.batching.rivals import best_rivals
from bench.batching.simulator import Simulated, World, simulate
from stream.batching import BatchingRules

STAGE, BOUND = "claimstream", "bound"
_SEED = 3


@dataclass(frozen=True, slots=True)
class Loads:
    """Shares on time by load, of each contestant, on one pattern."""

    pattern: str
    loads: tuple[float, ...]
    shares: Mapping[str, tuple[float, ...]]


def with_policy(case: Case) -> Simulated:
    """The policy knows the curve, and delivery takes no time."""
    rules = BatchingRules(LIMITS, case.budget)
    return simulate(case.times, World((case.curve,)), rules, known={0: case.curve})


def bursty(claims: int) -> tuple[Case, Simulated, dict[str, Served]]:
    """A trace whose bursts no server carries: the stage, and the best setting of each rule."""
    chosen = case("bursts", 0.8, CURVES[0], BUDGETS[0], claims, _SEED)
    rivals = best_rivals(chosen.times, chosen.curve, chosen.budget, LARGEST)
    named = {f"{rule}: {best.setting}": best.served for rule, best in rivals.items()}
    return chosen, with_policy(chosen), named


def loads(claims: int, *, quick: bool) -> list[Loads]:
    """Poisson arrivals and bursts, from well below to twice the capacity."""
    steps = (0.4, 0.8, 1.2, 1.6) if quick else (0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0)
    return [_by_load(pattern, steps, claims) for pattern in ("Poisson", "bursts")]


def _by_load(pattern: str, steps: tuple[float, ...], claims: int) -> Loads:
    found = [_shares(case(pattern, load, CURVES[0], BUDGETS[0], claims, _SEED)) for load in steps]
    return Loads(pattern, steps, {name: tuple(each[name] for each in found) for name in found[0]})


def _shares(case: Case) -> dict[str, float]:
    bound = most_on_time(case.times, case.curve, case.budget, LARGEST) / len(case.times)
    rivals = best_rivals(case.times, case.curve, case.budget, LARGEST)
    shares = {BOUND: bound, STAGE: with_policy(case).on_time(case.budget)}
    return shares | {rule: best.on_time for rule, best in rivals.items()}
