"""The rules that model servers use today, and the best of each on given arrivals, chosen with hindsight."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from bench.batching.replay import Policy, Serve, Served, replay
from stream.batch_policy import Wait
from stream.cost_model import LatencyCurve
from stream.publishing.arrivals import Floats

# Shares of the budget.
_LINGERS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75)
_OBJECTIVES = (0.5, 1.0)
_INCREASES = (1, 4, 16)
_DECREASE = 0.9


@dataclass(frozen=True, slots=True)
class Fixed:
    """A batch is full at `size`, or its oldest claim has waited for `linger` seconds; oldest first.

    Without a linger it is greedy: it takes what waits. With an endless one only the size counts.
    """

    size: int
    linger: float

    def decide(self, waiting: Floats, now: float) -> Serve | Wait:
        until = float(waiting[0]) + self.linger
        if len(waiting) >= self.size or now >= until:
            return Serve(min(len(waiting), self.size))
        return Wait(until)

    def observe(self, count: int, seconds: float) -> None:
        """Nothing is learned."""


class Aimd:
    """Clipper's adaptive batching (Crankshaw et al., NSDI 2017, §4.3.1): takes what waits up to a limit.

    The limit grows by `increase` claims while a full batch takes no longer than `objective` seconds, and falls by a
    tenth when one does.
    """

    def __init__(self, objective: float, increase: int, largest: int) -> None:
        self._objective = objective
        self._increase = increase
        self._largest = largest
        self._limit = 1.0

    def decide(self, waiting: Floats, now: float) -> Serve | Wait:  # noqa: ARG002 - it serves at once
        return Serve(min(len(waiting), int(self._limit)))

    def observe(self, count: int, seconds: float) -> None:
        if seconds > self._objective:
            self._limit = max(self._limit * _DECREASE, 1.0)
        elif count == int(self._limit):
            self._limit = min(self._limit + self._increase, self._largest)


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The setting of a rule with the greatest share of claims on time, and what it did."""

    on_time: float
    setting: str
    served: Served


def best_rivals(times: Floats, curve: LatencyCurve, budget: float, largest: int) -> dict[str, Best]:
    """Each rule on claims that arrive at `times`; no batch holds more than `largest` claims."""

    def best(settings: Mapping[str, Callable[[], Policy]]) -> Best:
        served = {name: replay(times, make(), curve) for name, make in settings.items()}
        name = max(served, key=lambda name: served[name].on_time(budget))
        return Best(served[name].on_time(budget), name, served[name])

    return {rule: best(settings) for rule, settings in _settings(budget, largest).items()}


def _settings(budget: float, largest: int) -> dict[str, dict[str, Callable[[], Policy]]]:
    sizes = [1 << power for power in range(largest.bit_length()) if 1 << power < largest] + [largest]
    return {
        "size and linger": {
            f"{size} claims, {linger * 1_000:g} ms": partial(Fixed, size, linger)
            for size in sizes
            for linger in (share * budget for share in _LINGERS)
        },
        "size only": {f"{size} claims": partial(Fixed, size, math.inf) for size in sizes},
        "greedy": {f"up to {largest} claims": partial(Fixed, largest, 0.0)},
        "AIMD": {
            f"{objective * 1_000:g} ms, +{increase}": partial(Aimd, objective, increase, largest)
            for objective in (share * budget for share in _OBJECTIVES)
            for increase in _INCREASES
        },
    }
