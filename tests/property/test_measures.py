"""Measures against their definitions, written out by pairs and by thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import platt
from models.measures import (
    Labels,
    auc,
    average_precision,
    best_threshold,
    calibration,
    chance,
    discrimination,
)

# Few distinct scores, so that ties are many.
claims = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=40).filter(
    lambda found: len({positive for _, positive in found}) == 2
)


def arrays(found: list[tuple[int, bool]]) -> tuple[Labels, Labels]:
    return (
        np.array([score / 8 for score, _ in found], np.float32),
        np.array([positive for _, positive in found], np.float32),
    )


@given(claims)
def test_auc_is_the_share_of_pairs_in_order(found: list[tuple[int, bool]]) -> None:
    pairs = [(a > b) + (a == b) / 2 for a, one in found for b, other in found if one and not other]
    assert auc(*arrays(found)) == pytest.approx(sum(pairs) / len(pairs))


@given(claims)
def test_average_precision_is_precision_by_gain_of_recall(found: list[tuple[int, bool]]) -> None:
    positives, total, before = sum(positive for _, positive in found), 0.0, 0.0
    for threshold in sorted({score for score, _ in found}, reverse=True):
        taken = [positive for score, positive in found if score >= threshold]
        recall = sum(taken) / positives
        total, before = total + (recall - before) * sum(taken) / len(taken), recall
    assert average_precision(*arrays(found)) == pytest.approx(total)


@settings(max_examples=10, deadline=None)
@given(claims, st.integers(0, 5))
def test_intervals_hold_what_they_are_of_and_repeat(found: list[tuple[int, bool]], seed: int) -> None:
    scores, labels = (np.tile(part, 10) for part in arrays(found))
    with np.errstate(divide="raise", invalid="raise"):
        measured = discrimination(scores, labels, seed)
    for interval in (measured.auc, measured.average_precision):
        assert 0 <= interval.low <= interval.value + 1e-9
        assert interval.value - 1e-9 <= interval.high <= 1 + 1e-9
    assert measured == discrimination(scores, labels, seed)


def test_scores_that_know_nothing_reach_the_auc_of_chance_one_time_in_forty() -> None:
    random = np.random.default_rng(5)
    labels = (np.arange(300) < 40).astype(np.float32)
    blind = [auc(random.random(300), labels) for _ in range(2_000)]
    assert np.mean(np.array(blind) > chance(labels)) == pytest.approx(0.025, abs=0.01)


def test_an_interval_is_as_wide_as_the_standard_error_says() -> None:
    random = np.random.default_rng(3)
    labels = (np.arange(2_000) % 2).astype(np.float32)
    found = discrimination(random.normal(labels), labels, 1).auc
    # Hanley and McNeil 1982, at an AUC of 0.76 with 1,000 of each class.
    assert found.value == pytest.approx(0.76, abs=0.03)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.0106, rel=0.2)


def test_calibration_compares_scores_with_what_came() -> None:
    scores = np.repeat(np.array([0.2, 0.8], np.float32), 50)
    labels = np.concatenate([np.arange(50) < 10, np.arange(50) < 30]).astype(np.float32)
    found = calibration(scores, labels)
    assert found.counts.tolist() == [10] * 10
    assert found.predicted.tolist() == pytest.approx([0.2] * 5 + [0.8] * 5)
    assert found.brier == pytest.approx((10 * 0.64 + 40 * 0.04 + 30 * 0.04 + 20 * 0.64) / 100)
    assert found.error == pytest.approx(0.5 * (0.8 + 4 * 0.2) / 5 + 0.5 * (3 * 0.2 + 2 * 0.8) / 5)


def test_platt_finds_scale_and_shift_and_keeps_the_order() -> None:
    random = np.random.default_rng(5)
    logits = random.normal(size=40_000)
    labels = (random.random(40_000) < 1 / (1 + np.exp(-(0.5 * logits - 1)))).astype(np.float32)
    scale, shift = platt.fit(logits, labels)
    assert (scale, shift) == (pytest.approx(0.5, abs=0.05), pytest.approx(-1, abs=0.05))
    assert platt.fit(-logits, labels)[0] > 0
    assert np.isfinite(platt.fit(np.array([-1.0, 1.0]), np.array([0, 1], np.float32))).all()


def test_the_threshold_is_the_highest_that_has_the_best_f1() -> None:
    labels = np.array([0, 1, 0, 1, 1], np.float32)
    for scores, threshold in (
        ([0.1, 0.2, 0.3, 0.4, 0.5], 0.2),
        ([0.1, 0.7, 0.7, 0.7, 0.7], 0.7),
        ([0.1, 0.70006, 0.8, 0.9, 0.9], 0.7),
    ):
        assert best_threshold(np.array(scores, np.float32), labels) == threshold


@given(claims, st.sampled_from([8, 7, 30_000]))
def test_no_threshold_of_four_decimals_has_a_better_f1(found: list[tuple[int, bool]], parts: int) -> None:
    scores, labels = arrays(found)
    scores *= np.float32(8 / parts)

    def f1(threshold: float) -> float:
        chosen = scores >= np.float32(threshold)
        return float(2 * labels[chosen].sum() / (chosen.sum() + labels.sum()))

    others = {step / 10_000 for score in scores.tolist() for step in range(int(score * 10_000) + 2)[-3:]}
    assert f1(best_threshold(scores, labels)) == pytest.approx(max(map(f1, others)))
