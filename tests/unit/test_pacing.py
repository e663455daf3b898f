"""When claims are due, in numbers."""

from __future__ import annotations

import numpy as np
import pytest

from stream.errors import UsageError
from stream.publishing.arrivals import Floats, first_times, times_within
from stream.publishing.pacing import ArrivalPacer, pacer
from stream.publishing.patterns import PATTERNS, Bursts, Diurnal, Even, OnOff, Poisson, Ramp, parse_pattern

MANY = 1_000_000_000


def counts(times: Floats, width: float, until: float) -> Floats:
    """Claims in each stretch of `width` seconds."""
    return np.histogram(times, bins=round(until / width), range=(0.0, until))[0].astype(np.float64)


def test_even_arrivals_are_a_ruler() -> None:
    ruler = pacer(100.0, Even(), 0)
    assert [ruler.due(elapsed, MANY) for elapsed in (-0.1, 0.0, 0.009, 0.0101, 1.0)] == [0, 1, 1, 2, 101]
    assert ruler.arrival(120) == 1.2


def test_poisson_arrivals_have_the_rate_and_the_spread_of_poisson() -> None:
    found = counts(times_within(Poisson().arrivals(2_000.0, 3), 20.0), 0.01, 20.0)
    assert found.mean() == pytest.approx(20, rel=0.03)
    assert found.var() == pytest.approx(20, rel=0.15)


def test_poisson_arrivals_far_ahead_and_after_a_long_pause() -> None:
    arrivals = pacer(1_000.0, Poisson(), 5)
    assert arrivals.arrival(20_000) == pytest.approx(20, rel=0.1)
    assert arrivals.due(100.0, MANY) == pytest.approx(100_000, rel=0.02)


@pytest.mark.parametrize("pattern", [Poisson(), Even()])
def test_at_a_rate_beyond_all_measure_no_more_is_drawn_than_can_be_sent(pattern: Poisson | Even) -> None:
    arrivals = pacer(1e9, pattern, 1)
    assert [arrivals.due(3_600.0, most) for most in (2_000, 4_000, 4_000, 4_001)] == [
        2_000,
        4_000,
        4_000,
        4_001,
    ]


def test_bursts_are_as_high_as_long_and_as_frequent_as_asked_for() -> None:
    pattern = Bursts(height=10.0, burst=0.5, calm=4.5)
    found = counts(times_within(pattern.arrivals(2_000.0, 1), 2_000.0), 0.02, 2_000.0)
    calm = 2_000.0 / 1.9 * 0.02
    bursting = found > 4 * calm
    assert bursting.mean() == pytest.approx(0.1, rel=0.15)
    assert found[bursting].mean() == pytest.approx(10 * calm, rel=0.03)
    assert found[~bursting].mean() == pytest.approx(calm, rel=0.03)
    begun = np.count_nonzero(np.diff(bursting.astype(int)) == 1)
    assert bursting.sum() * 0.02 / begun == pytest.approx(0.5, rel=0.2)


def test_bursts_begin_in_equilibrium() -> None:
    pattern = Bursts(height=5.0, burst=3.0, calm=7.0)
    first = [len(times_within(pattern.arrivals(100.0, seed), 1.0)) for seed in range(400)]
    assert np.mean(first) == pytest.approx(100, rel=0.1)


def test_a_day_has_its_night_and_two_peaks() -> None:
    day = counts(times_within(Diurnal(period=24.0, night=0.25).arrivals(20_000.0, 2), 24.0), 1.0, 24.0)
    assert day[:4].mean() == pytest.approx(5_000, rel=0.03)
    assert sorted(np.argsort(day)[-4:]) == [9, 10, 14, 15]
    assert day[12] < 0.95 * day[10]


def test_a_ramp_rises_evenly_and_starts_again() -> None:
    found = counts(times_within(Ramp(period=10.0, low=0.5).arrivals(10_000.0, 2), 20.0), 1.0, 20.0)
    expected = 10_000 * (0.55 + 0.1 * (np.arange(20) % 10))
    np.testing.assert_allclose(found, expected, rtol=0.05)


def test_between_its_parts_on_off_is_silent() -> None:
    times = times_within(OnOff(period=2.0, on=0.25).arrivals(1_000.0, 2), 20.0)
    assert np.all(times % 2.0 < 0.5)
    assert len(times) == pytest.approx(20_000, rel=0.03)


@pytest.mark.parametrize("name", PATTERNS)
def test_arrivals_repeat_with_their_seed(name: str) -> None:
    pattern = parse_pattern(name)
    one, same, other = (first_times(pattern.arrivals(50.0, seed), 100) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert np.array_equal(one, other) == (name == "even")


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", PATTERNS)
def test_a_rate_that_is_none_is_refused(rate: float, name: str) -> None:
    with pytest.raises(ValueError, match="positive"):
        pacer(rate, parse_pattern(name), 1)


def test_a_pattern_is_its_name_and_its_numbers() -> None:
    assert parse_pattern("bursts") == Bursts()
    assert parse_pattern("bursts:height=5,calm=30") == Bursts(height=5.0, calm=30.0)
    assert parse_pattern("on-off:on=1") == OnOff(on=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("burst", "no arrival pattern 'burst': did you mean bursts?"),
        ("", "known are poisson, even, bursts, diurnal, ramp, on-off"),
        ("bursts:hight=3", "has no number 'hight': did you mean height?"),
        ("poisson:x=3", "has no number 'x': known are none"),
        ("bursts:height", "'height' is not height=NUMBER"),
        ("bursts:height=tall", "'height=tall' is not height=NUMBER"),
        ("bursts:height=0.5", "height must be at least 1, not 0.5"),
        ("bursts:burst=0", "burst must be more than 0"),
        ("bursts:calm=inf", "calm must be more than 0 seconds, not inf"),
        ("diurnal:night=1.5", "night must be between 0 and 1"),
        ("diurnal:period=-1", "period must be more than 0"),
        ("ramp:low=nan", "low must be between 0 and 1"),
        ("ramp:period=0", "period must be more than 0"),
        ("on-off:on=0", "on must be more than 0 and at most 1"),
        ("on-off:period=0", "period must be more than 0"),
    ],
)
def test_what_is_no_pattern_is_refused_with_what_would_be_one(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_pattern(text)
    assert message in str(raised.value)


def test_arrivals_that_end_are_due_once_and_no_more() -> None:
    arrivals = ArrivalPacer(iter([np.array([0.0, 1.0]), np.array([1.0, 4.0])]))
    assert arrivals.arrival(3) == 4.0
    assert [arrivals.due(elapsed, MANY) for elapsed in (-1.0, 0.0, 1.0, 3.9, 4.0, 99.0)] == [0, 1, 3, 3, 4, 4]
    with pytest.raises(IndexError):
        arrivals.arrival(4)
