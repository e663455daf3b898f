"""What a stage measured of itself, as the simulator is told it: pure."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stream.cost_model import LatencyCurve
from stream.publishing.arrivals import Floats

_DRAWN = 1_000

# Numbers of which any is as likely as the others.
Sample = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """Samples, each of which holds from its moment on, the first also before; moments, in seconds, ascend."""

    moments: tuple[float, ...]
    samples: tuple[Sample, ...]

    @classmethod
    def steady(cls, sample: Sample) -> Course:
        """The same all the time."""
        return cls((0.0,), (sample,))

    def draw(self, now: float, generator: np.random.Generator) -> float:
        """One of the numbers that hold now."""
        sample = self.samples[max(bisect.bisect_right(self.moments, now) - 1, 0)]
        return sample[generator.integers(len(sample))]


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts, shape (n,), of values up to each edge and beyond the one before; the first begins at 0."""

    edges: Floats
    counts: Floats

    @classmethod
    def of(cls, numbers: Mapping[str, float], name: str) -> Histogram:
        """From the series of a classic histogram without labels. Values beyond its last edge count as there."""
        prefix = f'{name}_bucket{{le="'
        bounds = {
            float(series.removeprefix(prefix).rstrip('"}')): value
            for series, value in numbers.items()
            if series.startswith(prefix)
        }
        edges = np.array(sorted(bounds)[:-1])
        below = np.array([bounds[edge] for edge in edges])
        below[-1] = bounds[np.inf]
        return cls(edges, np.diff(below, prepend=0.0))

    def __bool__(self) -> bool:
        """Whether it counts anything."""
        return bool(self.counts.any())

    def quantiles(self) -> Sample:
        """Values between two edges being spread evenly."""
        return tuple(np.interp(_ranks(), *self._distribution()).tolist())

    def gaps(self, least: float) -> Sample:
        """The times that pass between reading and reading, where claims are of these ages when they are read.

        What comes evenly, and is there after `least` seconds, is by 0 to g seconds older where it is read every g
        seconds, evenly again. So as many claims are of an age as there is time in gaps that are longer: a gap exceeds u
        as often as the density of ages at `least` + u is a share of that at `least`. Where claims do not come evenly a
        density may rise, though no such share can; then the line nearest above that never does stands for it.
        """
        shares, edges = self._distribution()
        later = edges > least
        if not later.any():
            return (float(edges[1]),)
        waits, shares = _concave(np.append(0.0, edges[later] - least), np.append(0.0, shares[later]))
        exceeded = np.diff(shares) / np.diff(waits)
        longest = np.searchsorted(1.0 - exceeded[1:] / exceeded[0], _ranks())
        return tuple(waits[1:][longest].tolist())

    def _distribution(self) -> tuple[Floats, Floats]:
        """Shares of the values up to each edge, those edges; up to the last that is needed."""
        last = int(np.flatnonzero(self.counts)[-1]) + 1
        shares = np.append(0.0, np.cumsum(self.counts[:last]) / self.counts.sum())
        return shares, np.append(0.0, self.edges[:last])


def line(counts: Sequence[float], seconds: Sequence[float]) -> LatencyCurve:
    """Least squares over what batches took; both coefficients stay non-negative."""
    sizes, spent = np.asarray(counts, np.float64), np.asarray(seconds, np.float64)
    around = sizes - sizes.mean()
    each = float(around @ spent / (around @ around)) if around.any() else 0.0
    if each <= 0.0:
        return LatencyCurve(float(spent.mean()), 0.0)
    fixed = float(spent.mean() - each * sizes.mean())
    return LatencyCurve(fixed, each) if fixed > 0.0 else LatencyCurve(0.0, float(spent.sum() / sizes.sum()))


def _ranks() -> Floats:
    ranks: Floats = (np.arange(_DRAWN) + 0.5) / _DRAWN
    return ranks


def _concave(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The corners of the least concave line through or above these points, x rising."""
    kept: list[int] = []
    for place in range(len(x)):
        while len(kept) > 1 and _slope(x, y, kept[-2], kept[-1]) <= _slope(x, y, kept[-1], place):
            kept.pop()
        kept.append(place)
    return x[kept], y[kept]


def _slope(x: Floats, y: Floats, start: int, end: int) -> float:
    return float((y[end] - y[start]) / (x[end] - x[start]))
