"""The plain pass that the stage's scores are compared with: decode, features, score, nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from models import Model
from stream.audit import Claim
from stream.codec.reference import to_batch

_BATCH = 256


class OfflineScores:
    """Scores decoded claims in order, in batches of one size."""

    def __init__(self, model: Model, schema: pa.Schema) -> None:
        self._model = model
        self._schema = schema

    def __call__(self, claims: Sequence[Claim]) -> Sequence[float]:
        scores = [np.empty(0, np.float32)]
        for start in range(0, len(claims), _BATCH):
            batch = to_batch(list(claims[start : start + _BATCH]), self._schema)
            scores.append(self._model.score(self._model.features.encode(batch)))
        found: list[float] = np.concatenate(scores).tolist()
        return found
