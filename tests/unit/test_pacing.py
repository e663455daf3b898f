"""When claims are due, in numbers."""

from __future__ import annotations

import numpy as np
import pytest

from stream.publishing import Arrivals, EvenPacer, PoissonPacer, pacer


def test_even_arrivals_are_a_ruler() -> None:
    ruler = EvenPacer(100.0)
    assert [ruler.due(elapsed) for elapsed in (-0.1, 0.0, 0.009, 0.0101, 1.0)] == [0, 1, 1, 2, 101]
    assert ruler.arrival(50) == pytest.approx(0.5)


def test_poisson_arrivals_have_the_rate_and_the_spread_of_poisson() -> None:
    arrivals = PoissonPacer(2_000.0, seed=3)
    counts = np.diff([arrivals.due(0.01 * step) for step in range(1, 2_001)])
    assert counts.mean() == pytest.approx(20, rel=0.03)
    assert counts.var() == pytest.approx(20, rel=0.15)


def test_poisson_arrivals_repeat_with_their_seed() -> None:
    assert PoissonPacer(50.0, 1).due(10.0) == PoissonPacer(50.0, 1).due(10.0)
    assert PoissonPacer(50.0, 1).arrival(7) != PoissonPacer(50.0, 2).arrival(7)


def test_poisson_arrivals_far_ahead_and_after_a_long_pause() -> None:
    arrivals = PoissonPacer(1_000.0, 5)
    assert arrivals.arrival(20_000) == pytest.approx(20, rel=0.1)
    assert arrivals.due(100.0) == pytest.approx(100_000, rel=0.02)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("arrivals", list(Arrivals))
def test_a_rate_that_is_none_is_refused(rate: float, arrivals: Arrivals) -> None:
    with pytest.raises(ValueError, match="positive"):
        pacer(rate, arrivals, 1)
