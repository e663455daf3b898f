"""Models of the schedules: loaded when asked for, slow when told to, and unable to take some claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.faults.claims import Kind, pool
from models import FeatureEncoder, ModelError, ModelIdentity, VersionKey, open_model
from stream.clock import Clock

_NULL = open_model("null")
_LOAD_SECONDS = 0.3

Shares = tuple[tuple[VersionKey, int], ...]


class ScriptedModel:
    """Scores as the null model does. `spend(claims)` lets the time pass that a forward takes."""

    spec_digest = _NULL.spec_digest
    features: FeatureEncoder = _NULL.features
    decisions = _NULL.decisions

    def __init__(self, key: VersionKey, spend: Callable[[int], None]) -> None:
        self.identity = ModelIdentity(key.name, key.version, "default", "fp32", "cpu")
        self._spend = spend
        self._poison = _charges(Kind.POISON)
        self._boundless = _charges(Kind.BOUNDLESS)

    def score(self, features: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        charges = features["totals"][:, 0]
        self._spend(len(charges))
        if np.isin(charges, self._poison).any():
            raise RuntimeError("cannot take this one")
        scores = _NULL.score(features)
        scores[np.isin(charges, self._boundless)] = np.nan
        return scores

    def decide(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
        return _NULL.decide(scores)


class Versions:
    """What all workers find published: versions 1, 2, … of each model, and which of them serve."""

    def __init__(self, names: Sequence[str]) -> None:
        self.serving: dict[str, Shares] = {name: ((_version(name, 1), 1),) for name in names}
        self._there = {name: [_version(name, 1)] for name in names}
        # All that ever were, whatever became of them.
        self.published = {name: [_version(name, 1).version] for name in names}

    def is_there(self, key: VersionKey) -> bool:
        return key in self._there[key.name]

    def publish(self, name: str) -> VersionKey:
        """One more version, which does not serve yet."""
        key = _version(name, int(self._there[name][-1].version.split(".")[0]) + 1)
        self._there[name].append(key)
        self.published[name].append(key.version)
        return key

    def promote(self, name: str) -> None:
        """A new version takes all claims."""
        self.serving[name] = ((self.publish(name), 1),)

    def share(self, name: str) -> None:
        """A new version takes half of them."""
        self.serving[name] = ((self.serving[name][0][0], 1), (self.publish(name), 1))

    def remove(self, name: str) -> None:
        """What does not serve can no longer be loaded, and is nowhere resident."""
        self._there[name] = [key for key, _ in self.serving[name]]


class ScriptedSupply:
    """One worker's cache: a version is resident once it was loaded, until it is removed."""

    def __init__(self, versions: Versions, spends: Mapping[str, Callable[[int], None]], clock: Clock) -> None:
        self._versions = versions
        self._spends = spends
        self._clock = clock
        self._loaded: dict[VersionKey, ScriptedModel] = {}

    def shares(self, reference: str) -> Shares:
        return self._versions.serving[reference]

    def resident(self, key: VersionKey) -> ScriptedLease | None:
        return ScriptedLease(self._loaded[key]) if self.holds(key) else None

    def holds(self, key: VersionKey) -> bool:
        return key in self._loaded and self._versions.is_there(key)

    def begin(self, key: VersionKey) -> ScriptedLoad:
        return ScriptedLoad(self, key, self._clock.now() + _LOAD_SECONDS)

    def room(self, _: VersionKey) -> bool:
        return True

    def load_seconds(self, _: VersionKey) -> float:
        return _LOAD_SECONDS

    def expect(self, keys: Sequence[VersionKey]) -> None:
        """Nothing has to go for another."""

    def is_over(self, load: ScriptedLoad) -> bool:
        return self._clock.now() >= load.due

    def land(self, key: VersionKey) -> ScriptedLease:
        """Raises ModelError for a version that was removed meanwhile."""
        if not self._versions.is_there(key):
            raise ModelError(f"{key} was removed")
        self._loaded.setdefault(key, ScriptedModel(key, self._spends[key.name]))
        return ScriptedLease(self._loaded[key])


class ScriptedLease:
    """Who has one may go on with it, whatever becomes of the version."""

    def __init__(self, model: ScriptedModel) -> None:
        self.model = model

    def share(self) -> ScriptedLease:
        return self

    def release(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> ScriptedModel:
        return self.model

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""


class ScriptedLoad:
    """A load under way until `due`; who cannot wait may take it before."""

    def __init__(self, supply: ScriptedSupply, key: VersionKey, due: float) -> None:
        self._supply = supply
        self._key = key
        self.due = due

    @property
    def done(self) -> bool:
        return self._supply.is_over(self)

    def take(self) -> ScriptedLease:
        return self._supply.land(self._key)


def _version(name: str, number: int) -> VersionKey:
    return VersionKey(name, f"{number}.0.0", "scripted")


def _charges(kind: Kind) -> npt.NDArray[np.float32]:
    return np.array([claim.charge for claim in pool()[kind]], np.float32)
