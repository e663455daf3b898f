"""How long a batch takes, and how large it should be: pure."""

from __future__ import annotations

from dataclasses import dataclass

_FORGET = 0.98


@dataclass(frozen=True, slots=True)
class LatencyCurve:
    """time(n) = fixed + each * n, in seconds."""

    fixed: float
    each: float

    def seconds(self, count: int) -> float:
        return self.fixed + self.each * count


class CurveFit:
    """Least squares with exponential forgetting over (batch size, seconds); both coefficients stay non-negative.

    Weights decay by a constant factor an observation (Haykin, Adaptive Filter Theory, ch. 9). Until two sizes were
    seen the whole time counts as proportional.
    """

    def __init__(self) -> None:
        self._weight = self._n = self._t = self._nn = self._nt = 0.0

    def observe(self, count: int, seconds: float) -> None:
        self._weight = _FORGET * self._weight + 1.0
        self._n = _FORGET * self._n + count
        self._t = _FORGET * self._t + seconds
        self._nn = _FORGET * self._nn + count * count
        self._nt = _FORGET * self._nt + count * seconds

    def curve(self) -> LatencyCurve:
        if self._weight == 0.0:
            return LatencyCurve(0.0, 0.0)
        spread = self._weight * self._nn - self._n * self._n
        if spread <= 1e-9 * self._weight * self._nn:
            return LatencyCurve(0.0, self._t / self._n)
        each = (self._weight * self._nt - self._n * self._t) / spread
        if each <= 0.0:
            return LatencyCurve(self._t / self._weight, 0.0)
        fixed = (self._t - each * self._n) / self._weight
        return LatencyCurve(fixed, each) if fixed > 0.0 else LatencyCurve(0.0, self._nt / self._nn)


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """`smallest` and `largest` clamp the target; without `automatic` the target is always the largest."""

    smallest: int
    largest: int
    automatic: bool = True


def target_size(curve: LatencyCurve, slack: float, limits: SizeLimits) -> int:
    """The most claims that finish within `slack` seconds; when that is past, the size of most claims a second."""
    if not limits.automatic or slack <= curve.fixed or curve.each <= 0.0:
        return limits.largest
    return int(min(max((slack - curve.fixed) / curve.each, limits.smallest), limits.largest))
