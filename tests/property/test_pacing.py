"""Publishing is never ahead of its rate, and never forgets a claim."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.publishing.arrivals import first_times, times_within
from stream.publishing.pacing import pacer
from stream.publishing.patterns import PATTERNS, Bursts, Diurnal, Even, OnOff, Pattern, Poisson, Ramp

RATES = st.floats(0.5, 50_000)
STEPS = st.lists(st.floats(0, 0.2), min_size=1, max_size=60)
SEEDS = st.integers(0, 1_000)
SECONDS = st.floats(1, 100)
SHARES = st.floats(0, 1)
VARYING = st.one_of(
    st.just(Poisson()),
    st.builds(Bursts, st.floats(1, 50), SECONDS, SECONDS),
    st.builds(Diurnal, SECONDS, SHARES),
    st.builds(Ramp, SECONDS, SHARES),
    st.builds(OnOff, SECONDS, st.floats(0.01, 1)),
)
ANY = st.one_of(st.just(Even()), VARYING)
MANY = 1_000_000_000


@given(ANY, RATES, STEPS, SEEDS)
def test_due_follows_the_arrival_times(pattern: Pattern, rate: float, steps: list[float], seed: int) -> None:
    paced = pacer(rate, pattern, seed)
    elapsed, due = 0.0, 0
    for step in steps:
        elapsed += step
        before, due = due, paced.due(elapsed, MANY)
        assert due >= before
        assert paced.arrival(due) > elapsed
        assert due == 0 or paced.arrival(due - 1) <= elapsed


@given(RATES, STEPS)
def test_even_arrivals_are_never_ahead_of_the_rate(rate: float, steps: list[float]) -> None:
    paced = pacer(rate, Even(), 0)
    elapsed = 0.0
    for step in steps:
        elapsed += step
        assert paced.due(elapsed, MANY) <= elapsed * rate * (1 + 1e-12) + 1


@given(ANY, RATES, STEPS, SEEDS)
def test_asking_often_or_once_gives_the_same_arrivals(
    pattern: Pattern, rate: float, steps: list[float], seed: int
) -> None:
    often, once = pacer(rate, pattern, seed), pacer(rate, pattern, seed)
    elapsed = 0.0
    for step in steps:
        elapsed += step
        often.due(elapsed, MANY)
    assert often.due(elapsed, MANY) == once.due(elapsed, MANY)


@given(ANY, RATES, STEPS, SEEDS, st.integers(1_000, 5_000))
def test_counting_in_portions_gives_the_same_arrivals(
    pattern: Pattern, rate: float, steps: list[float], seed: int, portion: int
) -> None:
    portioned, whole = pacer(rate, pattern, seed), pacer(rate, pattern, seed)
    elapsed, sent = 0.0, 0
    for step in steps:
        elapsed += step
        sent = portioned.due(elapsed, sent + portion)
    while (due := portioned.due(elapsed, sent + portion)) > sent:
        sent = due
    assert sent == whole.due(elapsed, MANY)
    assert portioned.arrival(sent) == whole.arrival(sent)


@given(ANY, RATES, SEEDS, st.integers(1, 2_000), st.integers(0, 2_000))
def test_the_first_arrivals_do_not_depend_on_how_many_are_asked_for(
    pattern: Pattern, rate: float, seed: int, count: int, more: int
) -> None:
    few = first_times(pattern.arrivals(rate, seed), count)
    many = first_times(pattern.arrivals(rate, seed), count + more)
    assert len(few) == count
    assert np.array_equal(few, many[:count])
    assert np.all(np.diff(many) >= 0)
    within = times_within(pattern.arrivals(rate, seed), float(many[-1]))
    assert len(within) >= len(many)
    assert np.array_equal(within[: len(many)], many)
    assert np.all(within[len(many) :] == many[-1])


@settings(max_examples=40)
@given(
    st.one_of(
        st.builds(Diurnal, SECONDS, SHARES), st.builds(Ramp, SECONDS, SHARES), st.builds(OnOff, SECONDS)
    )
)
def test_over_its_period_the_mean_is_the_rate(pattern: Diurnal | Ramp | OnOff) -> None:
    steps = next(pattern.steps(300.0, np.random.default_rng(0)))
    assert steps.seconds.sum() == pytest.approx(pattern.period)
    assert (steps.seconds * steps.rates).sum() == pytest.approx(300.0 * pattern.period)
    assert np.all(steps.rates >= 0)


@pytest.mark.parametrize("name", PATTERNS)
def test_in_the_long_run_the_mean_is_the_rate(name: str) -> None:
    assert len(times_within(PATTERNS[name]().arrivals(100.0, 4), 30_000.0)) == pytest.approx(
        3_000_000, rel=0.05
    )
