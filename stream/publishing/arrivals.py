"""Arrival times without end, in chunks: the mechanism below the patterns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_CHUNK = 1_024


@dataclass(frozen=True, slots=True)
class Steps:
    """Stretches of constant rate, one after the other: shape (n,) each, in seconds and claims a second."""

    seconds: Floats
    rates: Floats


def even_times(rate: float) -> Iterator[Floats]:
    """One claim every 1/rate seconds, the first at 0."""
    first = 0
    while True:
        yield np.arange(first, first + _CHUNK) / rate
        first += _CHUNK


def poisson_times(course: Iterator[Steps], rng: np.random.Generator) -> Iterator[Floats]:
    """A Poisson process whose rate follows an endless course.

    Arrivals of rate 1 are carried through the inverse of the cumulative rate (Çinlar, Introduction to Stochastic
    Processes, 1975, ch. 4).
    """
    times, counts = np.zeros(1), np.zeros(1)
    reached, last = 0.0, 0.0
    while True:
        drawn = reached + np.cumsum(rng.standard_exponential(_CHUNK))
        reached = float(drawn[-1])
        times, counts = _extended(times, counts, course, reached)
        # Rounding may put two neighbours in the wrong order at the border of two steps.
        chunk = np.maximum.accumulate(np.maximum(np.interp(drawn, counts, times), last))
        last = float(chunk[-1])
        yield chunk
        passed = int(np.searchsorted(counts, reached)) - 1
        times, counts = times[passed:], counts[passed:]


def first_times(chunks: Iterator[Floats], count: int) -> Floats:
    """The first `count` arrivals."""
    taken: list[Floats] = []
    missing = count
    while missing > 0:
        taken.append(next(chunks)[:missing])
        missing -= len(taken[-1])
    return np.concatenate(taken) if taken else np.zeros(0)


def times_within(chunks: Iterator[Floats], seconds: float) -> Floats:
    """The arrivals up to and including `seconds`."""
    taken: list[Floats] = []
    for chunk in chunks:
        taken.append(chunk[: np.searchsorted(chunk, seconds, side="right")])
        if len(taken[-1]) < len(chunk):
            break
    return np.concatenate(taken) if taken else np.zeros(0)


def _extended(times: Floats, counts: Floats, course: Iterator[Steps], until: float) -> tuple[Floats, Floats]:
    """Seconds, and the claims expected up to them, until more than `until` claims are expected."""
    moments, expected = [times], [counts]
    while expected[-1][-1] <= until:
        steps = next(course)
        moments.append(moments[-1][-1] + np.cumsum(steps.seconds))
        expected.append(expected[-1][-1] + np.cumsum(steps.seconds * steps.rates))
    return np.concatenate(moments), np.concatenate(expected)
