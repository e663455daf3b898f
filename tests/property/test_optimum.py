"""The bound on claims that can be on time: it is reached, and nothing is above it."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.batching import best_rivals, most_on_time, replay
from bench.batching.replay import Serve
from stream.batch_sizer import LatencyCurve
from stream.publishing.arrivals import Floats, first_times
from stream.publishing.patterns import PATTERNS

CURVES = st.builds(LatencyCurve, st.integers(0, 5), st.integers(0, 4))


def best_of_all_schedules(times: Floats, curve: LatencyCurve, budget: float, largest: int) -> int:
    """Every order of every partition into batches, late claims among them or not."""

    @cache
    def best(left: int, now: float) -> int:
        found = 0
        batch = left
        while batch:
            members = [place for place in range(len(times)) if batch >> place & 1]
            if len(members) <= largest:
                finish = max([now, *times[members]]) + curve.seconds(len(members))
                on_time = sum(finish <= times[place] + budget for place in members)
                found = max(found, on_time + best(left & ~batch, finish))
            batch = (batch - 1) & left
        return found

    return best((1 << len(times)) - 1, 0.0)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 25), max_size=7).map(sorted), CURVES, st.integers(0, 30), st.integers(1, 7))
def test_the_bound_is_the_best_of_all_schedules(
    arrivals: list[int], curve: LatencyCurve, budget: int, largest: int
) -> None:
    times = np.array(arrivals, dtype=np.float64)
    expected = best_of_all_schedules(times, curve, budget, largest)
    assert most_on_time(times, curve, budget, largest) == expected


@settings(max_examples=6)
@given(st.integers(0, 999))
def test_of_eight_claims_that_come_close_together_the_bound_is_the_best_of_all_schedules(seed: int) -> None:
    draw = np.random.default_rng(seed)
    times = np.sort(draw.integers(0, 12, 8)).astype(np.float64)
    curve, budget = LatencyCurve(*draw.integers(1, 4, 2)), int(draw.integers(6, 14))
    expected = best_of_all_schedules(times, curve, budget, 5)
    assert most_on_time(times, curve, budget, 5) == expected


class Whim:
    """Any claims, at any time."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)

    def decide(self, waiting: Floats, now: float) -> Serve:
        skip = int(self._draw.integers(0, len(waiting))) if self._draw.random() < 0.5 else 0
        return Serve(int(self._draw.integers(1, 33)), skip)

    def observe(self, count: int, seconds: float) -> None:
        pass


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(PATTERNS)),
    st.floats(0.2, 3.0),
    st.sampled_from([0.02, 0.067, 0.13]),
    st.sampled_from([LatencyCurve(0.005, 0.0001), LatencyCurve(0.001, 0.00005)]),
    st.integers(0, 999),
)
def test_nothing_is_above_the_bound(
    kind: str, load: float, budget: float, curve: LatencyCurve, seed: int
) -> None:
    times = first_times(PATTERNS[kind]().arrivals(load * 32 / curve.seconds(32), seed), 150)
    bound = most_on_time(times, curve, budget, 32)
    rivals = best_rivals(times, curve, budget, 32)
    whim = replay(times, Whim(seed), curve).on_time(budget)
    assert max(whim, *(rival.on_time for rival in rivals.values())) * 150 <= bound + 1e-9
    assert bound <= most_on_time(times, curve, budget * 1.1, 32)
    assert bound >= most_on_time(times, LatencyCurve(curve.fixed * 1.1, curve.each * 1.1), budget, 32)


@settings(max_examples=60)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=60).map(sorted), CURVES, st.integers(0, 999))
def test_every_claim_is_served_once_by_one_server(
    arrivals: list[float], curve: LatencyCurve, seed: int
) -> None:
    times = np.array(arrivals)
    served = replay(times, Whim(seed), curve)
    assert served.sizes.sum() == len(times)
    assert np.all(served.latencies >= curve.seconds(1) - 1e-9)
    works = sum(curve.seconds(int(size)) for size in served.sizes)
    assert works - 1e-9 <= served.finishes.max() <= times[-1] + works + 1e-9
