"""What workers count, and the sum of it for their instance."""

from __future__ import annotations

import numpy as np
import pytest

from stream.metrics import Snapshot, StageMetrics
from stream.metrics_page import PAGE, markdown
from tests.scripted_stage import Stage


def snapshot(pressure: float, claims: int) -> Snapshot:
    metrics = StageMetrics()
    metrics.set("batching_pressure", pressure)
    metrics.set("claims_in_flight", claims)
    metrics.observe_one("batch_size", claims, "model")
    return metrics.snapshot()


def test_an_instance_shows_sums_and_of_some_gauges_its_worst_worker() -> None:
    whole = Snapshot()
    for each in (snapshot(0.5, 3), snapshot(1.0, 4), snapshot(0.25, 5)):
        whole.add(each)
    assert whole.numbers == {("batching_pressure", ()): 1.0, ("claims_in_flight", ()): 12.0}
    assert whole.histograms["batch_size", ("model",)].total == 12.0


@pytest.mark.parametrize("asked_after", [1, 64, 1_000])
def test_values_one_by_one_count_as_they_would_at_once(asked_after: int) -> None:
    values = np.random.default_rng(0).lognormal(-4.0, 2.0, 200)
    alone, together = StageMetrics(), StageMetrics()
    together.observe("inference_seconds", values, "model")
    for number, value in enumerate(values.tolist(), 1):
        alone.observe_one("inference_seconds", value, "model")
        if number % asked_after == 0:
            assert alone.snapshot().histograms["inference_seconds", ("model",)].counts.sum() == number
    found, wanted = (
        each.snapshot().histograms["inference_seconds", ("model",)] for each in (alone, together)
    )
    assert found.counts.tolist() == wanted.counts.tolist()
    assert found.total == pytest.approx(wanted.total)


def test_what_is_noted_meanwhile_is_counted_before_somebody_reads() -> None:
    metrics, noted = StageMetrics(), [3, 4]
    metrics.before_reading(lambda: metrics.count("polls_total", noted.pop() if noted else 0))
    assert [metrics.snapshot().numbers["polls_total", ()] for _ in range(3)] == [4, 7, 7]


def test_the_way_of_claims_to_the_stage_and_that_of_their_results_are_told_apart() -> None:
    stage = Stage()
    stage.publish(30)
    stage.clock.advance(1.0)
    while not stage.producer.sent:
        stage.step()
    stage.clock.advance(0.05)
    stage.producer.acknowledge(len(stage.producer))
    stage.step("output")
    found = stage.metrics.snapshot().histograms
    age, delivery = found["claim_age_at_read_seconds", ()], found["delivery_seconds", ()]
    assert (age.counts.sum(), age.total) == (30, pytest.approx(30.0))
    assert (delivery.counts.sum(), delivery.total) == (1, pytest.approx(0.05))


def test_scores_are_counted_by_model_and_version() -> None:
    stage = Stage()
    stage.publish(30)
    stage.run()
    scored = {k: v for k, v in stage.metrics.snapshot().numbers.items() if k[0] == "claims_scored_total"}
    assert list(scored.values()) == [30.0]


def test_the_page_of_metrics_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), "run: python -m stream.metrics_page"
