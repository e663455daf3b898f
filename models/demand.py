"""How much a model is asked for: aged shares of the requests, resident or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# In units of the clock that the caller gives: requests or seconds. Traffic picks among them.
HALF_LIVES = (10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0)
# One request in 200 may change how fast popularity moves.
_SWITCH = 0.005


@dataclass(slots=True)
class _Counts:
    """Aged counts, one a half-life, as they were at `at`."""

    values: list[float]
    at: float


class Demand:
    """The chance that a request is for a key, from the requests so far.

    A count with a short half-life follows a shift, one with a long half-life knows the tail. Each half-life foretells
    the next request from its shares; they are mixed by how well they foretold the last ones (fixed share: Herbster &
    Warmuth, Tracking the Best Expert, 1998), so that there is nothing to tune. Keys that are not resident are
    remembered as well, `capacity` of them in all; beyond that the one not asked for longest is forgotten.
    """

    def __init__(self, capacity: int = 512, half_lives: Sequence[float] = HALF_LIVES) -> None:
        if capacity < 1 or not half_lives or min(half_lives) <= 0:
            raise ValueError(
                f"demand: capacity {capacity} and half-lives {list(half_lives)} must be above zero; leave them out "
                "for the defaults"
            )
        self._capacity = capacity
        self._half_lives = tuple(half_lives)
        self._weights = [1.0 / len(half_lives)] * len(half_lives)
        self._total = self._counts(0.0, 0.0)
        self._keys: dict[str, _Counts] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def note(self, key: str, now: float) -> None:
        """It was asked for."""
        counts = self._keys.pop(key, None) or self._counts(0.0, now)
        own, total = self._aged(counts, now), self._aged(self._total, now)
        self._learn(self._shares(own, total))
        # Taken out and put back, so that the one not asked for longest comes first.
        self._keys[key] = _Counts([count + 1.0 for count in own], now)
        self._total = _Counts([count + 1.0 for count in total], now)
        if len(self._keys) > self._capacity:
            del self._keys[next(iter(self._keys))]

    def of(self, key: str, now: float) -> float:
        """The chance, above 0 and at most 1, that a request is for it."""
        counts = self._keys.get(key) or self._counts(0.0, now)
        return self._mixed(self._shares(self._aged(counts, now), self._aged(self._total, now)))

    def before(self, key: str, now: float) -> float:
        """The same without its own last request.

        What a newcomer is weighed by: had the request that brings it in counted, whoever comes last would look
        dearest, and models that are asked for in turn would push each other out.
        """
        if (counts := self._keys.get(key)) is None:
            return self.of(key, now)
        last = self._aged(self._counts(1.0, counts.at), now)
        own = _difference(self._aged(counts, now), last)
        return self._mixed(self._shares(own, self._aged(self._total, now)))

    def _shares(self, own: Sequence[float], total: Sequence[float]) -> list[float]:
        """What each half-life says; each adds one request, spread over all keys and one that is not known yet."""
        unseen = 1.0 / (len(self._keys) + 1)
        return [(count + unseen) / (all_ + 1.0) for count, all_ in zip(own, total, strict=True)]

    def _learn(self, shares: Sequence[float]) -> None:
        """Half-lives that foretold the request count for more."""
        weights = [weight * share for weight, share in zip(self._weights, shares, strict=True)]
        scale = (1.0 - _SWITCH) / sum(weights)
        self._weights = [weight * scale + _SWITCH / len(weights) for weight in weights]

    def _mixed(self, shares: Sequence[float]) -> float:
        return sum(weight * share for weight, share in zip(self._weights, shares, strict=True))

    def _counts(self, value: float, now: float) -> _Counts:
        return _Counts([value] * len(self._half_lives), now)

    def _aged(self, counts: _Counts, now: float) -> list[float]:
        age = max(0.0, now - counts.at)
        return [
            value * 0.5 ** (age / life) for value, life in zip(counts.values, self._half_lives, strict=True)
        ]


def _difference(values: Sequence[float], less: Sequence[float]) -> list[float]:
    return [max(0.0, value - other) for value, other in zip(values, less, strict=True)]
