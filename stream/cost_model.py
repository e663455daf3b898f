"""How long a micro-batch takes: a line fitted online to what batches took, and how far to trust it. Pure."""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

from stream.recent import RecentQuantile

_FORGET = 0.98
_TRUST = 0.9
# An outlier is so many times what was predicted; so many in a row are no outliers but a new speed.
_FAR = 3.0
_DRIFT = 5
# Until so many batches were seen, whatever they took is believed.
_LEARNING = 8
# Sizes that vary by less than a tenth of themselves.
_NARROW = 0.01
# Standard errors by which the fixed cost may well be higher than what was found.
_DOUBT = 2.0


class LatencyCurve(NamedTuple):
    """time(n) = fixed + each * n, in seconds."""

    fixed: float
    each: float

    def seconds(self, count: int) -> float:
        return self.fixed + self.each * count

    def fitting(self, seconds: float) -> int:
        """The most claims that take at most so long; 0 where not even one does."""
        if seconds < self.seconds(1):
            return 0
        room = (seconds - self.fixed) / self.each if self.each > 0.0 else math.inf
        # A whole number of claims that rounding left just short of itself is that number.
        return int(min(room * (1 + 1e-12), 1 << 30))

    def slower(self, factor: float) -> LatencyCurve:
        """The same with everything taking `factor` times as long."""
        return LatencyCurve(self.fixed * factor, self.each * factor)


class CostModel:
    """Least squares with exponential forgetting over (claims, seconds); both coefficients stay non-negative.

    Weights decay by a constant factor an observation (Haykin, Adaptive Filter Theory, ch. 9); least squares needs no
    library here, the sums of two unknowns are five numbers. A batch that took several times what was predicted is left
    out of the fit, as a pause of the machine; several in a row are believed, and the fit begins anew. `start` is what
    an earlier run on this machine learned.

    `curve` is the fit, nothing at all before the first observation; `dearest` is the same with a fixed cost as
    high as it may well be. Batches that were slow by chance, or all of one size, tell little of what is fixed.
    """

    def __init__(self, start: LatencyCurve | None = None) -> None:
        self._late = RecentQuantile(_TRUST)
        self._far = 0
        self._forget_all()
        if start is not None:
            for count in (1, 256):
                self._add(count, start.seconds(count))

    @property
    def margin(self) -> float:
        """How much longer than predicted nine batches in ten did not take, as a share of the prediction."""
        return max(self._late.value, 0.0)

    @property
    def error(self) -> float | None:
        """Median distance between prediction and what a batch took, as a share of the prediction; None before any."""
        latest = self._late.latest()
        return statistics.median_low(map(abs, latest)) if latest else None

    @property
    def learned(self) -> bool:
        """Whether enough batches were seen to tell others."""
        return self._seen >= _LEARNING

    @property
    def narrow(self) -> bool:
        """Whether batches were so much of one size that the line through them is a guess."""
        return self._seen >= _LEARNING and self._spread < _NARROW * self._weight * self._nn

    @property
    def single(self) -> float | None:
        """Seconds of a batch of one; None while nothing sound is known of it."""
        if not self.learned or (self.narrow and self._n > 2.0 * self._weight):
            return None
        return self.curve.seconds(1)

    def observe(self, count: int, seconds: float) -> None:
        """Learn from a batch of `count` claims that took `seconds`."""
        if self._seen >= _LEARNING and (predicted := self.curve.seconds(count)) > 0.0:
            error = seconds / predicted - 1.0
            if not 1.0 / _FAR <= 1.0 + error <= _FAR:
                self._far += 1
                if self._far < _DRIFT:
                    return
                self._forget_all()
            else:
                self._late.note(error)
        self._far = 0
        self._add(count, seconds)

    def _forget_all(self) -> None:
        self._weight = self._n = self._t = self._nn = self._nt = self._tt = self._spread = 0.0
        self._seen = 0
        self.curve = self.dearest = LatencyCurve(0.0, 0.0)

    def _add(self, count: int, seconds: float) -> None:
        self._seen += 1
        self._weight = _FORGET * self._weight + 1.0
        self._n = _FORGET * self._n + count
        self._t = _FORGET * self._t + seconds
        self._nn = _FORGET * self._nn + count * count
        self._nt = _FORGET * self._nt + count * seconds
        self._tt = _FORGET * self._tt + seconds * seconds
        self._spread = self._weight * self._nn - self._n * self._n
        self.curve = self._fitted()
        self.dearest = self._doubtful(*self.curve)

    def _fitted(self) -> LatencyCurve:
        spread = self._spread
        if spread <= 1e-9 * self._weight * self._nn:
            return LatencyCurve(self._t / self._weight, 0.0)
        each = (self._weight * self._nt - self._n * self._t) / spread
        if each <= 0.0:
            return LatencyCurve(self._t / self._weight, 0.0)
        fixed = (self._t - each * self._n) / self._weight
        return LatencyCurve(fixed, each) if fixed > 0.0 else LatencyCurve(0.0, self._nt / self._nn)

    def _doubtful(self, fixed: float, each: float) -> LatencyCurve:
        """The standard error of an intercept, for observations that all are as exact (Draper and Smith, ch. 1)."""
        residual = (
            self._tt
            - 2.0 * (fixed * self._t + each * self._nt)
            + fixed * fixed * self._weight
            + 2.0 * fixed * each * self._n
            + each * each * self._nn
        )
        spread = self._spread
        if residual <= 1e-9 * self._tt:
            return LatencyCurve(fixed, each)
        if spread <= 1e-9 * self._weight * self._nn:
            return LatencyCurve(math.inf, each)
        return LatencyCurve(fixed + _DOUBT * math.sqrt(residual / self._weight * self._nn / spread), each)
