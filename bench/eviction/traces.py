"""Four kinds of traffic over 24 models, from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MODELS = 24
_SMALLEST, _LARGEST = 10e6, 1.2e9
_EXPONENT = 1.0
_SHIFT_EVERY = 500
_SCAN_EVERY = 150
_DAY = 1_000

Keys = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Model:
    """What a rule knows of a model: bytes, and seconds to load it again."""

    bytes: int
    cost: float


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in their order; every key is one of `models`."""

    kind: str
    models: dict[str, Model]
    requests: list[str]


def trace(kind: str, seed: int, length: int) -> Trace:
    """The traffic of a kind: the same for the same seed. Sizes are uniform, and popularity knows nothing of them."""
    random = np.random.default_rng([seed, list(KINDS).index(kind)])
    sizes = random.uniform(_SMALLEST, _LARGEST, MODELS).astype(int)
    models = {f"m{number:02}": Model(int(size), reload_cost(int(size))) for number, size in enumerate(sizes)}
    names = list(models)
    return Trace(kind, models, [names[number] for number in KINDS[kind](random, length)])


def reload_cost(size: int) -> float:
    """Seconds to load so many bytes, as they were measured: 0.02 s + 0.5 s/GB."""
    return 0.02 + 0.5e-9 * size


def _shares(random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Zipf's law over the models in a random order."""
    shares = 1.0 / np.arange(1, MODELS + 1) ** _EXPONENT
    return random.permutation(shares / shares.sum())


def _zipf(random: np.random.Generator, length: int) -> Keys:
    return random.choice(MODELS, length, p=_shares(random))


def _shift(random: np.random.Generator, length: int) -> Keys:
    """Zipf whose order is drawn anew, all at once, every 500 requests."""
    parts = [_zipf(random, _SHIFT_EVERY) for _ in range(-(-length // _SHIFT_EVERY))]
    return np.concatenate(parts)[:length]


def _scan(random: np.random.Generator, length: int) -> Keys:
    """Zipf; after every 150 requests each model is asked for once, as an audit over all models does."""
    shares = _shares(random)
    rounds = -(-length // (_SCAN_EVERY + MODELS))
    parts = [
        part
        for _ in range(rounds)
        for part in (random.choice(MODELS, _SCAN_EVERY, p=shares), np.arange(MODELS))
    ]
    return np.concatenate(parts)[:length]


def _diurnal(random: np.random.Generator, length: int) -> Keys:
    """The traffic of the day and that of the night, mixed by the hour; a day is 1,000 requests."""
    day, night = _shares(random), _shares(random)
    hour = (1 + np.sin(2 * np.pi * np.arange(length) / _DAY)) / 2
    by_day = random.random(length) < hour
    return np.where(by_day, random.choice(MODELS, length, p=day), random.choice(MODELS, length, p=night))


KINDS: dict[str, Callable[[np.random.Generator, int], Keys]] = {
    "zipf": _zipf,
    "shift": _shift,
    "scan": _scan,
    "diurnal": _diurnal,
}
