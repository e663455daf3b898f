"""The server, its rivals and the bound, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.batching import Serve, Served, best_rivals, most_on_time, replay
from bench.batching.rivals import Aimd, Fixed
from stream.batch_policy import Wait
from stream.batch_sizer import LatencyCurve
from stream.publishing.arrivals import Floats, first_times
from stream.publishing.patterns import Bursts

CURVE = LatencyCurve(2.0, 1.0)


def at(*times: float) -> Floats:
    return np.array(times, dtype=np.float64)


class Scripted:
    """Decisions in their order; notes when it was asked, and what waited."""

    def __init__(self, *decisions: Serve | Wait) -> None:
        self._decisions = list(decisions)
        self.asked: list[tuple[float, list[float]]] = []
        self.observed: list[tuple[int, float]] = []

    def decide(self, waiting: Floats, now: float) -> Serve | Wait:
        self.asked.append((now, waiting.tolist()))
        return self._decisions.pop(0)

    def observe(self, count: int, seconds: float) -> None:
        self.observed.append((count, seconds))


def test_a_policy_is_asked_when_a_claim_comes_a_wait_ends_or_the_server_is_idle() -> None:
    policy = Scripted(Wait(9.0), Wait(1.5), Serve(2), Serve(5), Serve(1))
    served = replay(at(0.5, 1.0, 3.0, 9.0), policy, CURVE)
    moments = [(0.5, [0.5]), (1.0, [0.5, 1.0]), (1.5, [0.5, 1.0]), (5.5, [3.0]), (9.0, [9.0])]
    assert policy.asked == moments
    assert served.finishes.tolist() == [5.5, 5.5, 8.5, 12.0]


def test_what_is_skipped_stays_in_front() -> None:
    policy = Scripted(Serve(1), Serve(1, skip=1), Serve(9))
    served = replay(at(0.0, 1.0, 2.0, 2.5), policy, CURVE)
    assert policy.asked[1:] == [(3.0, [1.0, 2.0, 2.5]), (6.0, [1.0, 2.5])]
    assert served.finishes.tolist() == [3.0, 10.0, 6.0, 10.0]
    assert served.sizes.tolist() == [1, 1, 2]
    assert policy.observed == [(1, 3.0), (1, 3.0), (2, 4.0)]


def test_what_would_wait_for_ever_is_the_last_batch() -> None:
    served = replay(at(0.0, 1.0), Scripted(Wait(math.inf), Wait(math.inf)), CURVE)
    assert served.finishes.tolist() == [5.0, 5.0]


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (Wait(1.0), "waits at 1.0 s until 1.0 s, which is past"),
        (Serve(0), "serves nothing"),
        (Serve(1, skip=1), "serves nothing"),
        (Serve(1, skip=-1), "serves nothing"),
    ],
)
def test_a_decision_that_leads_nowhere_is_refused(decision: Serve | Wait, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replay(at(1.0, 9.0), Scripted(decision), CURVE)


def test_on_time_is_a_share_to_the_last_moment() -> None:
    served = Served(at(0.0, 1.0, 2.0, 3.0), at(4.0, 4.0, 7.0, 8.0), np.array([2, 1, 1]))
    assert served.latencies.tolist() == [4.0, 3.0, 5.0, 5.0]
    assert [served.on_time(budget) for budget in (2.9, 3.0, 4.0, 5.0)] == [0.0, 0.25, 0.5, 1.0]


def sizes(policy: Fixed | Aimd, times: Floats) -> list[int]:
    return replay(times, policy, CURVE).sizes.tolist()


def test_fixed_closes_by_size_or_by_linger() -> None:
    times = at(0.0, 0.1, 0.2, 10.0, 10.5, 11.0)
    assert sizes(Fixed(3, 0.5), times) == [3, 2, 1]
    assert sizes(Fixed(3, math.inf), times) == [3, 3]
    assert sizes(Fixed(2, 0.5), times) == [2, 1, 2, 1]
    assert sizes(Fixed(9, 0.0), times) == [1, 2, 1, 2]


def test_aimd_grows_by_claims_and_falls_by_a_tenth() -> None:
    policy = Aimd(objective=7.0, increase=2, largest=100)
    assert sizes(policy, np.zeros(30)) == [1, 3, 5, 7, 6, 5, 3]
    assert Aimd(100.0, 8, 10).decide(np.zeros(99), 0.0) == Serve(1)


def test_aimd_stays_below_the_largest_batch_and_above_none() -> None:
    assert sizes(Aimd(1_000.0, 8, 10), np.zeros(30)) == [1, 9, 10, 10]
    assert sizes(Aimd(0.1, 8, 10), np.zeros(3)) == [1, 1, 1]


def test_aimd_does_not_grow_on_batches_that_were_not_full() -> None:
    policy = Aimd(1_000.0, 1, 100)
    replay(np.arange(10) * 100.0, policy, CURVE)
    assert sizes(policy, np.zeros(9))[0] == 2


@pytest.mark.parametrize(
    ("times", "budget", "largest", "expected"),
    [
        ((), 1.0, 1, 0),
        ((0.0,), 2.9, 1, 0),
        ((0.0,), 3.0, 1, 1),
        # Two together take 4, one after the other 6.
        ((0.0, 0.0), 4.0, 2, 2),
        ((0.0, 0.0), 4.0, 1, 1),
        # The first alone, then the others together, or else the first is late.
        ((0.0, 1.0, 2.0), 6.0, 9, 3),
        ((0.0, 1.0, 2.0), 5.9, 9, 2),
        # One in the middle is given up, so that the last two are on time.
        ((0.0, 2.0, 3.0, 3.0), 4.0, 9, 3),
    ],
)
def test_the_bound_is_the_one_by_hand(
    times: tuple[float, ...], budget: float, largest: int, expected: int
) -> None:
    assert most_on_time(at(*times), CURVE, budget, largest) == expected


def test_of_each_rule_the_best_setting_is_named() -> None:
    curve, budget = LatencyCurve(0.005, 0.0001), 0.02
    times = first_times(Bursts(burst=0.02, calm=0.1).arrivals(3_000.0, 1), 400)
    found = best_rivals(times, curve, budget, 64)
    assert list(found) == ["size and linger", "size only", "greedy", "AIMD"]
    greedy = replay(times, Fixed(64, 0.0), curve).on_time(budget)
    assert found["greedy"].on_time == greedy
    assert found["size and linger"].on_time >= greedy
    size, linger = found["size and linger"].setting.split(" claims, ")
    chosen = Fixed(int(size), float(linger.removesuffix(" ms")) / 1_000)
    assert replay(times, chosen, curve).on_time(budget) == found["size and linger"].on_time
