"""What batches are expected to take, and how fast claims are expected to come."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.arrivals import ArrivalRate
from stream.cost_model import CostModel, LatencyCurve
from stream.recent import RecentQuantile

LINE = LatencyCurve(0.002, 0.0001)


def taught(line: LatencyCurve = LINE, noise: float = 0.0, batches: int = 200) -> CostModel:
    model, rng = CostModel(), np.random.default_rng(1)
    for size in rng.integers(1, 512, batches).tolist():
        model.observe(size, line.seconds(size) * rng.lognormal(0.0, noise))
    return model


@given(st.floats(1e-4, 0.1), st.floats(1e-6, 1e-3), st.lists(st.integers(1, 512), min_size=2, max_size=60))
def test_finds_a_line(fixed: float, each: float, counts: list[int]) -> None:
    model = CostModel()
    for count in [*counts, 1, 600]:
        model.observe(count, fixed + each * count)
    assert model.curve.seconds(300) == pytest.approx(fixed + each * 300, rel=1e-3)


@given(st.lists(st.tuples(st.integers(1, 512), st.floats(0, 1)), max_size=80))
def test_never_predicts_less_than_nothing(observations: list[tuple[int, float]]) -> None:
    model = CostModel()
    for count, spent in observations:
        model.observe(count, spent)
    assert model.curve.fixed >= 0.0
    assert model.curve.each >= 0.0
    assert model.margin >= 0.0


@given(st.lists(st.tuples(st.integers(1, 512), st.floats(1e-6, 1)), min_size=1, max_size=80))
def test_the_fixed_cost_may_be_more_than_was_found_and_never_less(
    observations: list[tuple[int, float]],
) -> None:
    model = CostModel()
    for count, spent in observations:
        model.observe(count, spent)
    assert model.dearest.fixed >= model.curve.fixed
    assert model.dearest.each == model.curve.each


def test_the_fixed_cost_is_sure_where_batches_lie_on_a_line_and_unsure_where_they_are_of_one_size() -> None:
    assert taught().dearest == taught().curve
    noisy = taught(noise=0.1)
    assert noisy.curve.fixed < noisy.dearest.fixed < noisy.curve.fixed + 0.01
    alike, rng = CostModel(), np.random.default_rng(1)
    for _ in range(50):
        alike.observe(32, LINE.seconds(32) * rng.lognormal(0.0, 0.1))
    assert alike.dearest.fixed == math.inf


def test_a_pause_of_the_machine_is_left_out() -> None:
    model = taught()
    for _ in range(3):
        model.observe(100, 1.0)
        model.observe(100, LINE.seconds(100))
    assert model.curve.seconds(100) == pytest.approx(LINE.seconds(100), rel=1e-6)


def test_a_new_speed_is_believed_after_a_few_batches() -> None:
    model = taught()
    for size in (30, 300, 60, 500, 100, 400, 200):
        model.observe(size, 5 * LINE.seconds(size))
    assert model.curve.seconds(256) == pytest.approx(5 * LINE.seconds(256), rel=0.01)


def test_a_slow_drift_is_followed() -> None:
    model = taught()
    for step in range(300):
        model.observe(64 + step % 7 * 50, LINE.seconds(64 + step % 7 * 50) * 1.3)
    assert model.curve.seconds(256) == pytest.approx(1.3 * LINE.seconds(256), rel=0.02)


def test_caution_comes_from_its_own_errors() -> None:
    assert taught().margin == pytest.approx(0.0, abs=1e-6)
    noisy = taught(noise=0.1)
    assert 0.08 < noisy.margin < 0.2
    assert noisy.error is not None
    assert 0.03 < noisy.error < 0.12
    assert CostModel().error is None


def test_one_size_tells_nothing_of_a_single_claim() -> None:
    model = CostModel()
    for _ in range(20):
        model.observe(400, 0.15)
    assert model.narrow
    assert model.single is None
    assert model.curve.seconds(800) == pytest.approx(0.15)
    for _ in range(20):
        model.observe(1, 0.03)
    assert model.single == pytest.approx(0.03, rel=0.2)
    alone = CostModel()
    for _ in range(20):
        alone.observe(1, 0.03)
    assert alone.single == pytest.approx(0.03)


def test_starts_from_what_an_earlier_run_learned_and_learns_on() -> None:
    model = CostModel(LINE)
    assert model.curve.seconds(100) == pytest.approx(LINE.seconds(100), rel=1e-6)
    for size in np.random.default_rng(2).integers(1, 512, 300).tolist():
        model.observe(size, 2 * LINE.seconds(size))
    assert model.curve.seconds(100) == pytest.approx(2 * LINE.seconds(100), rel=1e-3)


@given(st.floats(1e-5, 0.1), st.floats(1e-7, 1e-2), st.integers(1, 5_000))
def test_what_fits_is_exact(fixed: float, each: float, count: int) -> None:
    curve = LatencyCurve(fixed, each)
    assert curve.fitting(curve.seconds(count)) in (count, count - 1, count + 1)
    assert curve.seconds(curve.fitting(curve.seconds(count))) <= curve.seconds(count) * (1 + 1e-9)
    assert curve.fitting(curve.seconds(1) * 0.99) == 0


@given(st.floats(10.0, 5_000.0), st.integers(0, 100))
def test_a_steady_rate_is_found(rate: float, seed: int) -> None:
    arrivals, now, rng = ArrivalRate(), 50.0, np.random.default_rng(seed)
    for gap in rng.exponential(1 / rate, 3_000).tolist():
        now += gap
        arrivals.note(1, now)
    # A count that forgets within s seconds deviates by sqrt(rate / 2 s): the slow one by sqrt(rate), the quick one by
    # five times that; the last claim alone adds 50 to it.
    assert rate - 5.0 * rate**0.5 < arrivals.at(now) < rate + 50.0 + 8.0 * 5.0 * rate**0.5


def test_the_first_claims_are_no_flood() -> None:
    arrivals = ArrivalRate()
    for step in range(11):
        arrivals.note(1, step * 0.001)
    assert arrivals.at(0.01) == pytest.approx(1_100, rel=0.1)


def test_polls_count_as_many_as_they_bring() -> None:
    arrivals = ArrivalRate()
    for step in range(400):
        arrivals.note(50, step * 0.005)
    assert arrivals.at(400 * 0.005) == pytest.approx(10_000, rel=0.15)


def test_a_burst_is_seen_at_once_and_remembered_for_a_while() -> None:
    arrivals = ArrivalRate()
    for step in range(1_000):
        arrivals.note(1, step * 0.01)
    assert arrivals.at(10.0) == pytest.approx(100, rel=0.3)
    for step in range(50):
        arrivals.note(1, 10.0 + step * 0.001)
    assert arrivals.at(10.05) > 600
    assert 100 < arrivals.at(10.3) < 600
    assert arrivals.at(20.0) < 1


def test_nothing_came_and_clocks_that_go_backwards() -> None:
    arrivals = ArrivalRate()
    assert arrivals.at(5.0) == 0.0
    arrivals.note(10, 5.0)
    arrivals.note(10, 4.0)
    assert arrivals.silence(3.0) == 0.0
    assert np.isfinite(arrivals.at(3.0))
    assert arrivals.silence(6.0) == 1.0


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=300), st.floats(0.1, 0.9))
def test_a_quantile_is_one_of_the_latest_values(values: list[float], share: float) -> None:
    recent = RecentQuantile(share, window=16)
    for value in values:
        recent.note(value)
    assert recent.value in values[-24:]
    assert recent.latest() == tuple(values[-16:])
