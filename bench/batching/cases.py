"""What batching is measured on: patterns, loads, budgets and latency curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stream.batch_sizer import SizeLimits
from stream.cost_model import LatencyCurve
from stream.publishing.arrivals import Floats, first_times
from stream.publishing.patterns import Bursts, Diurnal, OnOff, Pattern, Poisson, Ramp

CURVES = (LatencyCurve(0.005, 0.000_1), LatencyCurve(0.001, 0.000_05))
BUDGETS = (0.020, 0.067, 0.130)
LOADS = (0.3, 0.6, 0.8, 0.95)
OVERLOADS = (1.3, 2.0)
# The sizes of batches that a stage has unless told otherwise.
LIMITS = SizeLimits(32, 512)
LARGEST = LIMITS.largest


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Claims that arrive at `times`, a server, and the seconds in which a claim should be finished."""

    pattern: str
    load: float
    curve: LatencyCurve
    budget: float
    times: Floats

    def __str__(self) -> str:
        curve = f"{self.curve.fixed * 1_000:g} + {self.curve.each * 1_000:g} n ms"
        return f"{self.pattern} at {self.load:g}, {curve}, {self.budget * 1_000:g} ms"


def capacity(curve: LatencyCurve, budget: float) -> float:
    """The highest steady rate, in claims a second, at which every claim can be on time.

    A claim may come just when a batch begins: it waits for that one, then for its own. So batches that follow one
    another may take half the budget each, and all loads are shares of what they carry; no batch exceeds `LARGEST`.
    """
    size = min(curve.fitting(budget / 2), LARGEST)
    return size / curve.seconds(size)


def case(pattern: str, load: float, curve: LatencyCurve, budget: float, claims: int, seed: int) -> Case:
    """A trace of `claims` claims on which the pattern runs its course: a day, a ramp, three times on and off."""
    rate = load * capacity(curve, budget)
    chosen = _patterns(claims / rate)[pattern]
    return Case(pattern, load, curve, budget, first_times(chosen.arrivals(rate, seed), claims))


def cases(claims: int, seed: int, *, quick: bool) -> Iterator[Case]:
    """All patterns at all loads, Poisson above capacity too. Quick: two budgets and one load of each."""
    for curve in CURVES:
        for budget in BUDGETS[:2] if quick else BUDGETS:
            for pattern in _patterns(1.0):
                for load in LOADS[2:3] if quick else LOADS:
                    yield case(pattern, load, curve, budget, claims, seed)
            for load in OVERLOADS[:1] if quick else OVERLOADS:
                yield case("Poisson", load, curve, budget, claims, seed)


def _patterns(span: float) -> dict[str, Pattern]:
    """By name; `span` is the seconds that a trace lasts. Bursts are well above capacity from a load of 0.3 on."""
    return {
        "Poisson": Poisson(),
        "bursts": Bursts(height=10.0, burst=span / 20, calm=span * 9 / 20 / 3),
        "diurnal": Diurnal(period=span),
        "ramp": Ramp(period=span),
        "on-off": OnOff(period=span / 3, on=0.4),
    }
