"""How claims are spread over time: each pattern is a few numbers; over its period its mean is the rate asked for."""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import repeat
from typing import Any, Protocol

import numpy as np

from stream.errors import UsageError
from stream.publishing.arrivals import Floats, Steps, even_times, poisson_times

# A day in steps of five minutes.
_STEPS = 288
_SOJOURNS = 64
_PEAKS = (10.0, 15.0)
_PEAK_HOURS = 1.5


class Pattern(Protocol):
    """Endless arrivals, the same for the same seed."""

    def arrivals(self, rate: float, seed: int) -> Iterator[Floats]:
        """Chunks of arrival times in seconds, none before the one ahead of it.

        Raises ValueError unless `rate` is a positive number of claims per second.
        """


@dataclass(frozen=True, slots=True)
class Even:
    """One claim every 1/rate seconds."""

    def arrivals(self, rate: float, seed: int) -> Iterator[Floats]:  # noqa: ARG002 - nothing is drawn
        return even_times(_checked(rate))


class Varying(ABC):
    """Poisson arrivals whose rate changes by steps."""

    __slots__ = ()

    def arrivals(self, rate: float, seed: int) -> Iterator[Floats]:
        claims, course = np.random.Generator(np.random.Philox(seed)).spawn(2)
        return poisson_times(self.steps(_checked(rate), course), claims)

    @abstractmethod
    def steps(self, rate: float, rng: np.random.Generator) -> Iterator[Steps]:
        """The rate over time, without end."""


@dataclass(frozen=True, slots=True)
class Poisson(Varying):
    """Independent arrivals at a constant rate."""

    def steps(self, rate: float, rng: np.random.Generator) -> Iterator[Steps]:  # noqa: ARG002 - nothing is drawn
        return repeat(Steps(np.array([1_000 / rate]), np.array([rate])))


@dataclass(frozen=True, slots=True)
class Bursts(Varying):
    """Calm and bursts of `height` times its rate, for exponential times of mean `calm` and `burst` seconds.

    The Markov-modulated Poisson process of two states, begun in its equilibrium (Fischer and Meier-Hellstern, The
    MMPP cookbook, 1993).
    """

    height: float = 10.0
    burst: float = 1.0
    calm: float = 9.0

    def __post_init__(self) -> None:
        _demand(self, "height", self.height >= 1, "at least 1")
        _demand(self, "burst", self.burst > 0, "more than 0 seconds")
        _demand(self, "calm", self.calm > 0, "more than 0 seconds")

    def steps(self, rate: float, rng: np.random.Generator) -> Iterator[Steps]:
        cycle = self.burst + self.calm
        means, heights = np.array([self.calm, self.burst]), np.array([1.0, self.height])
        rates = heights * rate * cycle / (self.calm + self.height * self.burst)
        bursting = rng.random() < self.burst / cycle
        states = (np.arange(_SOJOURNS) + bursting) % 2
        while True:
            yield Steps(rng.standard_exponential(_SOJOURNS) * means[states], rates[states])


@dataclass(frozen=True, slots=True)
class Diurnal(Varying):
    """A day of `period` seconds from midnight on: `night` times the mean rate, and peaks at 10 and 15 o'clock."""

    period: float = 60.0
    night: float = 0.2

    def __post_init__(self) -> None:
        _demand(self, "period", self.period > 0, "more than 0 seconds")
        _demand(self, "night", 0 <= self.night <= 1, "between 0 and 1")

    def steps(self, rate: float, rng: np.random.Generator) -> Iterator[Steps]:  # noqa: ARG002 - nothing is drawn
        hours = (np.arange(_STEPS) + 0.5) * 24 / _STEPS
        distances = (hours[:, None] - np.array(_PEAKS)) / _PEAK_HOURS
        peaks = np.exp(-(distances**2) / 2).sum(axis=1)
        shape = self.night + (1 - self.night) * peaks / peaks.mean()
        return repeat(Steps(np.full(_STEPS, self.period / _STEPS), rate * shape))


@dataclass(frozen=True, slots=True)
class Ramp(Varying):
    """From `low` times the mean rate evenly up to 2 - `low` times over `period` seconds, then from the start."""

    period: float = 60.0
    low: float = 0.2

    def __post_init__(self) -> None:
        _demand(self, "period", self.period > 0, "more than 0 seconds")
        _demand(self, "low", 0 <= self.low <= 1, "between 0 and 1")

    def steps(self, rate: float, rng: np.random.Generator) -> Iterator[Steps]:  # noqa: ARG002 - nothing is drawn
        passed = (np.arange(_STEPS) + 0.5) / _STEPS
        shape = self.low + 2 * (1 - self.low) * passed
        return repeat(Steps(np.full(_STEPS, self.period / _STEPS), rate * shape))


@dataclass(frozen=True, slots=True)
class OnOff(Varying):
    """All claims in the first part, `on`, of each `period` seconds, none in the rest."""

    period: float = 10.0
    on: float = 0.5

    def __post_init__(self) -> None:
        _demand(self, "period", self.period > 0, "more than 0 seconds")
        _demand(self, "on", 0 < self.on <= 1, "more than 0 and at most 1")

    def steps(self, rate: float, rng: np.random.Generator) -> Iterator[Steps]:  # noqa: ARG002 - nothing is drawn
        parts = np.array([self.on, 1 - self.on])
        return repeat(Steps(self.period * parts, np.array([rate / self.on, 0.0])))


PATTERNS: Mapping[str, type[Even | Poisson | Bursts | Diurnal | Ramp | OnOff]] = {
    "poisson": Poisson,
    "even": Even,
    "bursts": Bursts,
    "diurnal": Diurnal,
    "ramp": Ramp,
    "on-off": OnOff,
}


def parse_pattern(text: str) -> Pattern:
    """A pattern by name, its numbers after a colon: `bursts`, `bursts:height=5,calm=30`. Raises UsageError."""
    name, _, numbers = text.partition(":")
    if name not in PATTERNS:
        raise UsageError(f"no arrival pattern {name!r}: {_nearest(name, list(PATTERNS))}")
    known = [field.name for field in fields(PATTERNS[name])]
    chosen = dict(_number(entry, known, name) for entry in numbers.split(",") if entry)
    try:
        return PATTERNS[name](**chosen)
    except ValueError as error:
        raise UsageError(f"the arrival pattern {name}: {error}") from error


def _number(entry: str, known: list[str], pattern: str) -> tuple[str, float]:
    key, separator, value = entry.partition("=")
    if key not in known:
        raise UsageError(f"the arrival pattern {pattern} has no number {key!r}: {_nearest(key, known)}")
    try:
        return key, float(value)
    except ValueError:
        shown = f"{key}{separator}{value}"
        raise UsageError(f"the arrival pattern {pattern}: {shown!r} is not {key}=NUMBER") from None


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}"


def _demand(pattern: Any, name: str, fulfilled: bool, demand: str) -> None:
    value = getattr(pattern, name)
    if not (fulfilled and math.isfinite(value)):
        raise ValueError(f"{name} must be {demand}, not {value:g}")


def _checked(rate: float) -> float:
    if not (math.isfinite(rate) and rate > 0):
        raise ValueError(f"the rate must be a positive number of claims per second: {rate}")
    return rate
