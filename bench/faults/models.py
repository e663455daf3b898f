"""Models of the schedules: always there, slow when told to, and unable to take some claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.faults.claims import Kind, pool
from models import FeatureEncoder, ModelIdentity, VersionKey, open_model

_NULL = open_model("null")


class ScriptedModel:
    """Scores as the null model does. `spend(claims)` lets the time pass that a forward takes."""

    spec_digest = _NULL.spec_digest
    features: FeatureEncoder = _NULL.features
    decisions = _NULL.decisions

    def __init__(self, name: str, spend: Callable[[int], None]) -> None:
        self.identity = ModelIdentity(name, "1.0.0", "default", "fp32", "cpu")
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


class ScriptedSupply:
    """Every version is resident."""

    def __init__(self, spends: Mapping[str, Callable[[int], None]]) -> None:
        self._models = {
            VersionKey(name, "1.0.0", "scripted"): ScriptedModel(name, spend)
            for name, spend in spends.items()
        }

    def shares(self, reference: str) -> tuple[tuple[VersionKey, int], ...]:
        return tuple((key, 1) for key in self._models if key.name == reference)

    def resident(self, key: VersionKey) -> ScriptedLease | None:
        return ScriptedLease(self._models[key])

    def holds(self, key: VersionKey) -> bool:
        return key in self._models

    def begin(self, key: VersionKey) -> ScriptedLoad:
        return ScriptedLoad(self._models[key])

    def room(self, key: VersionKey) -> bool:
        return key in self._models

    def load_seconds(self, _: VersionKey) -> float:
        return 0.0

    def expect(self, keys: Sequence[VersionKey]) -> None:
        """Nothing is ever loaded."""


class ScriptedLease:
    """Models never go."""

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
    """A load that is done."""

    done = True

    def __init__(self, model: ScriptedModel) -> None:
        self._model = model

    def take(self) -> ScriptedLease:
        return ScriptedLease(self._model)


def _charges(kind: Kind) -> npt.NDArray[np.float32]:
    return np.array([claim.charge for claim in pool()[kind]], np.float32)
