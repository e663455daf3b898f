"""What a stage measured of itself becomes what the simulator is told, and what that foretells is held against it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from bench.batching.fidelity import Page, Run, figures
from bench.batching.measured import Course, Histogram, line
from bench.batching.simulator import Reading, World, _Output, simulate
from bench.report import as_json
from bench.scrape import numbers
from stream.batch_sizer import SizeLimits
from stream.batching import BatchingRules, Conditions
from stream.cost_model import LatencyCurve
from stream.metrics import SECONDS, SnapshotCollector, StageMetrics
from stream.publishing.arrivals import Floats, first_times
from stream.publishing.patterns import Poisson
from stream.records import CloseReason

AT_ONCE = LatencyCurve(0.000_001, 0.0)
BEGIN = 1_700_000_000.0


def counted(values: Sequence[float] | Floats) -> Histogram:
    metrics = StageMetrics()
    metrics.observe("delivery_seconds", values)
    return Histogram.of(exposed(metrics), "delivery_seconds")


def exposed(metrics: StageMetrics) -> dict[str, float]:
    """As they stand on the page."""
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(metrics.snapshot))
    return numbers(generate_latest(registry).decode())


def test_a_histogram_is_read_from_the_page_of_metrics() -> None:
    found = counted([0.0005, 0.004, 0.004, 0.06, 99.0])
    assert found.edges.tolist() == list(SECONDS)
    counts = dict(zip(SECONDS, found.counts.tolist(), strict=True))
    assert {edge: count for edge, count in counts.items() if count} == {0.001: 1, 0.005: 2, 0.067: 1, 30.0: 1}
    assert found
    assert not Histogram(found.edges, found.counts - found.counts)


def test_its_quantiles_lie_evenly_between_two_edges() -> None:
    drawn = np.array(counted([0.03] * 300 + [0.12] * 100).quantiles())
    assert np.percentile(drawn, [0, 37.5, 74.9]) == pytest.approx([0.02, 0.0275, 0.035], abs=1e-4)
    assert np.percentile(drawn, [75.1, 87.5, 100]) == pytest.approx([0.1, 0.125, 0.15], abs=1e-3)


def test_what_is_read_every_so_often_is_of_every_age_up_to_that() -> None:
    ages = counted(0.01 + np.linspace(0.0, 0.04, 4_000))
    assert sorted(set(ages.gaps(0.01))) == [pytest.approx(0.04)]
    assert counted([0.001]).gaps(0.01) == (0.001,)


def test_gaps_are_those_by_which_claims_became_so_old() -> None:
    """Three in four of 10 ms, one of 90: three quarters of the time are spent in long ones."""
    drawn = np.random.default_rng(1).choice([0.01, 0.09], 20_000, p=[0.75, 0.25])
    ends = np.cumsum(drawn)
    times = np.linspace(0.0, ends[-1] * 0.999, 200_000)
    ages = ends[np.searchsorted(ends, times)] - times
    found = np.array(counted(0.01 + ages).gaps(0.01))
    assert np.mean(found <= 0.011) == pytest.approx(0.75, abs=0.02)
    assert found.mean() == pytest.approx(0.03, rel=0.05)


def test_claims_of_the_simulator_are_as_old_when_read_as_those_that_were_measured() -> None:
    measured = counted(np.random.default_rng(2).gamma(2.0, 0.02, 50_000))
    times = first_times(Poisson().arrivals(2_000.0, 1), 40_000)
    world = World((AT_ONCE,), transport=0.004, gaps=Course.steady(measured.gaps(0.004)))
    served = simulate(times, world, BatchingRules(SizeLimits(1, 512), 10.0), known={0: AT_ONCE})
    shares = (0.25, 0.5, 0.75, 0.95)
    expected = np.quantile(measured.quantiles(), shares)
    assert np.quantile(served.latencies, shares) == pytest.approx(expected, rel=0.12)


def test_what_holds_changes_in_its_time() -> None:
    course, generator = Course((1.0, 2.0), ((5.0,), (6.0, 7.0))), np.random.default_rng(1)
    assert [course.draw(now, generator) for now in (0.0, 1.0, 1.9)] == [5.0] * 3
    assert {course.draw(2.0, generator) for _ in range(20)} == {6.0, 7.0}


def test_the_simulator_learns_from_its_deliveries_what_the_stage_would() -> None:
    world = World((AT_ONCE,), delivery=0.01, delivery_noise=Course.steady((1.0, 1.0, 1.0, 15.0)))
    output, conditions = _Output(64, world, 0.2, Reading()), Conditions()
    for row in range(64):
        output.put(np.array([row]), float(row))
    output.press(conditions, 0, 0.0)
    assert (conditions.delivery, conditions.reserve, conditions.pressure) == (0.01, 0.0, 0.0)
    output.step(64.0)
    output.press(conditions, 0, 64.0)
    # Half of the budget is for scoring, and three quarters of it for delivery press by half.
    assert (conditions.delivery, conditions.reserve, conditions.pressure) == pytest.approx((0.01, 0.09, 0.5))


def test_batches_of_the_simulator_are_shorter_where_delivery_becomes_slow() -> None:
    rules, curve = BatchingRules(SizeLimits(1, 512), 0.2), LatencyCurve(0.005, 0.000_1)

    def typical(*factors: float) -> float:
        world = World((curve,), delivery=0.01, delivery_noise=Course((0.0, 0.1), ((1.0,), factors)))
        reading = Reading(claims=2_000, ahead=1_000, poll=500)
        return float(np.median(simulate(np.zeros(20_000), world, rules, reading, {0: curve}).sizes[20:]))

    assert typical(1.0, 15.0) < 0.7 * typical(1.0)


@pytest.mark.parametrize(
    ("counts", "seconds", "expected"),
    [
        ((1, 2, 3), (3.0, 5.0, 7.0), (1.0, 2.0)),
        ((4, 4), (1.0, 3.0), (2.0, 0.0)),
        ((1, 2), (3.0, 1.0), (2.0, 0.0)),
        ((10, 20), (1.0, 3.0), (0.0, 4 / 30)),
    ],
)
def test_a_line_through_batches_never_falls_nor_begins_below_nothing(
    counts: tuple[int, ...], seconds: tuple[float, ...], expected: tuple[float, float]
) -> None:
    found = line(counts, seconds)
    assert (found.fixed, found.each) == pytest.approx(expected)


def imagined(rate: float, claims: int, *, slower: float = 1.0) -> Run:
    """A run of a stage that is a simulator itself, and tells its metrics every second."""
    times = first_times(Poisson().arrivals(rate, 3), claims)
    curve = LatencyCurve(0.004, 0.000_06)
    gaps = Course.steady((0.01, 0.02, 0.03, 0.06))
    world = World(
        (curve.slower(slower),), between=0.004, transport=0.006, gaps=gaps, delivery=0.01, delivery_noise=0.5
    )
    known = {0: curve}
    reading = Reading(16_384, 512, 2_000, seconds=LatencyCurve(0.001, 0.000_01))
    served = simulate(times, world, BatchingRules(SizeLimits(32, 512), 0.2), reading, known)
    read = simulate(
        times, World((AT_ONCE,), transport=0.006, gaps=gaps), BatchingRules(SizeLimits(1, 512), 9.0)
    )
    seconds = world.curves[0].fixed + world.curves[0].each * served.sizes
    late = np.array([reason is CloseReason.LATE for reason in served.reasons])
    batches = np.column_stack((BEGIN + served.starts, served.sizes, seconds, late))
    received = np.column_stack((BEGIN + times, BEGIN + served.finishes))
    return Run(received, pages(times, read.latencies, served.finishes), batches)


def pages(times: Floats, ages: Floats, finishes: Floats) -> list[Page]:
    metrics = StageMetrics()
    found: list[Page] = [(BEGIN, exposed(metrics))]
    delays = 0.01 * np.random.default_rng(4).lognormal(0.0, 0.5, len(times))
    for second in range(int(finishes.max()) + 1):
        now = (times >= second) & (times < second + 1)
        metrics.observe("claim_age_at_read_seconds", ages[now])
        metrics.observe("delivery_seconds", delays[now])
        metrics.count("claims_consumed_total", float(now.sum()))
        metrics.count("polls_total", 30.0)
        metrics.count("busy_seconds_total", 0.03 + 0.000_01 * float(now.sum()), "decode")
        found.append((BEGIN + second + 1.0, exposed(metrics)))
    return found


def test_a_stage_that_is_a_simulator_is_foretold() -> None:
    steady, flood = imagined(4_000.0, 20_000), imagined(20_000.0, 40_000, slower=1.1)
    told = figures(imagined(200.0, 600), [(flood, steady, steady)])
    assert json.dumps(as_json("simulator", told, 0.0, quick=True))
    found = {each.name: each for each in told}
    assert found["simulator_throughput_error"].value < 0.06
    assert found["simulator_p95_error"].value < 0.15
    assert found["claim_age_p95_ms"].value == pytest.approx(60.0, rel=0.2)
    assert "ms, foretold" in found["simulator_p95_error"].note
