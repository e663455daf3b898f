"""Claims in, scores out, outside the stage: the same features and the same forward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.claims import Claims, columns
from models.protocols import Model, ModelIdentity

BatchSize = int | Literal["auto"]


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What one claim got."""

    score: float
    decision: str


@dataclass(frozen=True, slots=True)
class BatchResults:
    """Scores (n,), each 0 to 1, and the index of each decision, in the order of the claims."""

    model: ModelIdentity
    scores: npt.NDArray[np.float32]
    decided: npt.NDArray[np.int8]
    words: tuple[str, ...]

    @property
    def decisions(self) -> list[str]:
        return [self.words[index] for index in self.decided.tolist()]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, place: int) -> ClaimResult:
        return ClaimResult(float(self.scores[place]), self.words[self.decided[place]])

    def __iter__(self) -> Iterator[ClaimResult]:
        return map(self.__getitem__, range(len(self)))


def infer(model: Model, claims: Claims, size: int) -> BatchResults:
    """Score claims in micro-batches of `size`. Raises FeatureError for claims that the model cannot read."""
    batch = columns(claims)
    tensors = model.features.encode(batch)
    parts = [
        model.score({name: tensor[start : start + size] for name, tensor in tensors.items()})
        for start in range(0, batch.num_rows, size)
    ]
    scores = np.concatenate(parts) if parts else np.empty(0, np.float32)
    return BatchResults(model.identity, scores, model.decide(scores), model.decisions)
