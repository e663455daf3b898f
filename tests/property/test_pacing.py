"""Publishing is never ahead of its rate, and never forgets a claim."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.publishing import Arrivals, pacer

RATES = st.floats(0.5, 50_000)
STEPS = st.lists(st.floats(0, 0.2), min_size=1, max_size=60)


@given(st.sampled_from(Arrivals), RATES, STEPS, st.integers(0, 1_000))
def test_due_follows_the_arrival_times(kind: Arrivals, rate: float, steps: list[float], seed: int) -> None:
    paced = pacer(rate, kind, seed)
    elapsed, due = 0.0, 0
    for step in steps:
        elapsed += step
        before, due = due, paced.due(elapsed)
        assert due >= before
        assert paced.arrival(due) >= elapsed * (1 - 1e-9)


@given(RATES, STEPS)
def test_even_arrivals_are_never_ahead_of_the_rate(rate: float, steps: list[float]) -> None:
    paced = pacer(rate, Arrivals.EVEN, 0)
    elapsed = 0.0
    for step in steps:
        elapsed += step
        assert paced.due(elapsed) <= elapsed * rate + 1


@given(RATES, STEPS, st.integers(0, 1_000))
def test_asking_often_or_once_gives_the_same_arrivals(rate: float, steps: list[float], seed: int) -> None:
    often, once = pacer(rate, Arrivals.POISSON, seed), pacer(rate, Arrivals.POISSON, seed)
    elapsed = 0.0
    for step in steps:
        elapsed += step
        often.due(elapsed)
    assert often.due(elapsed) == once.due(elapsed)
