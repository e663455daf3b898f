"""How well scores tell claims apart and how far they can be believed; each measure with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]

RESAMPLES = 1_000
_AT_ONCE = 50
_SHARE = 0.95
_TWO_SIDED = 1.96
_BINS = 10
_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A measure, and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Discrimination:
    """How well scores tell the two classes apart."""

    auc: Interval
    average_precision: Interval


@dataclass(frozen=True, slots=True)
class Calibration:
    """Claims in `_BINS` groups of equal size by their score: mean score, and which share is positive.

    `error` is the mean distance of the two (expected calibration error), `brier` the mean squared error of a score.
    """

    predicted: Floats
    observed: Floats
    counts: npt.NDArray[np.int64]
    error: float
    brier: float


class Ranking:
    """Claims by score, the highest first; equal scores count together, in whatever order they came."""

    def __init__(self, scores: npt.NDArray[np.floating], labels: Labels) -> None:
        order = np.argsort(-scores, kind="stable")
        self._hits = labels[order].astype(np.float64)
        self._starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))

    def measure(self, weights: Floats) -> tuple[Floats, Floats]:
        """AUC and average precision (m,) of the claims, each counted as often as `weights` (m, n) in order say.

        NaN where a class is absent.
        """
        hits = np.add.reduceat(weights * self._hits, self._starts, axis=1)
        misses = np.add.reduceat(weights, self._starts, axis=1) - hits
        found = np.cumsum(hits, axis=1)
        positives, negatives = found[:, -1], misses.sum(1)
        above = found - hits / 2
        area = _ratio((misses * above).sum(1), positives * negatives, np.nan)
        seen = found + np.cumsum(misses, axis=1)
        precision = (hits * _ratio(found, seen, 0.0)).sum(1)
        return area, _ratio(precision, positives * (negatives > 0), np.nan)

    @property
    def size(self) -> int:
        return len(self._hits)


def auc(scores: npt.NDArray[np.floating], labels: Labels) -> float:
    """Area under the ROC curve: how often a positive scores higher than a negative, ties counted half."""
    return float(Ranking(scores, labels).measure(np.ones((1, len(scores))))[0][0])


def chance(labels: Labels) -> float:
    """The AUC that scores which know nothing of the labels stay below 39 times of 40 (Mann and Whitney's test)."""
    positives = float(labels.sum())
    negatives = len(labels) - positives
    return 0.5 + _TWO_SIDED * float(np.sqrt((positives + negatives + 1) / (12 * positives * negatives)))


def average_precision(scores: npt.NDArray[np.floating], labels: Labels) -> float:
    """Mean precision at each positive, best scores first; equal scores are one step."""
    return float(Ranking(scores, labels).measure(np.ones((1, len(scores))))[1][0])


def discrimination(scores: npt.NDArray[np.floating], labels: Labels, seed: int) -> Discrimination:
    """Both measures with percentile intervals of a bootstrap (Efron 1979) over the claims."""
    ranking = Ranking(scores, labels)
    area, precision = ranking.measure(np.ones((1, ranking.size)))
    areas, precisions = _resampled(ranking, np.random.default_rng(seed))
    return Discrimination(_interval(area[0], areas), _interval(precision[0], precisions))


def calibration(scores: npt.NDArray[np.floating], labels: Labels) -> Calibration:
    """The calibration curve by groups of equal size."""
    parts = np.array_split(np.argsort(scores, kind="stable"), min(_BINS, len(scores)))
    predicted = np.array([scores[part].mean() for part in parts], np.float64)
    observed = np.array([labels[part].mean() for part in parts], np.float64)
    counts = np.array([len(part) for part in parts])
    error = float((np.abs(predicted - observed) * counts).sum() / counts.sum())
    return Calibration(predicted, observed, counts, error, float(np.mean((scores - labels) ** 2)))


def best_threshold(scores: npt.NDArray[np.floating], labels: Labels) -> float:
    """The threshold, of four decimals, at which F1 is highest; claims that reach it count as positive."""
    reached = _reached(scores.astype(np.float32))
    order = np.argsort(-reached, kind="stable")
    # Claims that reach the same thresholds are all above one or all below it.
    ends = np.flatnonzero(np.diff(reached[order], append=-1))
    hits = np.cumsum(labels[order], dtype=np.float64)[ends]
    best = ends[np.argmax(2 * hits / (ends + 1 + labels.sum()))]
    return int(reached[order[best]]) / _STEPS


def _reached(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The highest of the thresholds n / 10,000 that each score reaches as a model compares them, in float32."""
    steps = np.floor(scores.astype(np.float64) * _STEPS)
    # Of floats a little below n / 10,000 the nearest compares as equal to it.
    steps += ((steps + 1) / _STEPS).astype(np.float32) <= scores
    return steps.astype(np.int64)


def _ratio(above: Floats, below: Floats, otherwise: float) -> Floats:
    found: Floats = np.divide(above, below, out=np.full_like(above, otherwise), where=below > 0)
    return found


def _resampled(ranking: Ranking, random: np.random.Generator) -> tuple[Floats, Floats]:
    areas, precisions = [], []
    even = np.full(ranking.size, 1 / ranking.size)
    for _ in range(RESAMPLES // _AT_ONCE):
        area, precision = ranking.measure(
            random.multinomial(ranking.size, even, size=_AT_ONCE).astype(np.float64)
        )
        areas.append(area)
        precisions.append(precision)
    return np.concatenate(areas), np.concatenate(precisions)


def _interval(value: float, resampled: Floats) -> Interval:
    # A resample in which one class is absent says nothing.
    low, high = np.nanquantile(resampled, ((1 - _SHARE) / 2, (1 + _SHARE) / 2))
    return Interval(float(value), float(low), float(high))
