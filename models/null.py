"""The built-in model `null`: arithmetic only. It measures what the stage itself can carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.columns import Lists, numbers
from models.errors import FeatureError
from models.protocols import ColumnShape, ModelIdentity, Tensors

NAME = "null"
_TYPICAL_CHARGE = 500.0
_LARGEST = 1e30


class LineTotals:
    """Total charge and number of lines of each claim, float32 (n, 2); an impossible charge counts as 0."""

    columns: Mapping[str, ColumnShape] = {"totals": ColumnShape((2,), np.dtype(np.float32))}

    def encode(self, claims: pa.RecordBatch) -> dict[str, npt.NDArray[np.float32]]:
        if "lines" not in claims.schema.names:
            raise FeatureError("the model `null` needs the column `lines`; the reader schema has none")
        lines = Lists(claims.column("lines"))
        charge = lines.sums(numbers(lines.field("charge")))
        charge[~(np.abs(charge) < _LARGEST)] = 0.0
        totals = np.empty((len(claims), 2), np.float32)
        totals[:, 0] = charge
        totals[:, 1] = lines.counts
        return {"totals": totals}


class NullModel:
    """Score = charge / (charge + 500 a line): 0 for free claims, towards 1 for dear ones."""

    identity = ModelIdentity(NAME, "1.0.0", "default", "fp32", "cpu")
    bytes = 0
    spec_digest = "null-totals-1"
    decisions = ("pass", "review")
    features = LineTotals()

    def score(self, features: Tensors) -> npt.NDArray[np.float32]:
        charge, lines = features["totals"][:, 0], features["totals"][:, 1]
        typical = np.float32(_TYPICAL_CHARGE) * np.maximum(lines, 1)
        return (np.abs(charge) / (np.abs(charge) + typical)).astype(np.float32)

    def decide(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
        return (scores >= 0.5).astype(np.int8)

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        for size in batch_sizes:
            self.score({"totals": np.zeros((size, 2), np.float32)})
