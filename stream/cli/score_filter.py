"""Which results somebody wants to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class ScoreFilter:
    """Results of these claim types and outcomes that some model gave a score from `lowest` to `highest`, deciding so.

    An empty tuple or None leaves all through. Score and decision have to be those of one and the same model.
    """

    lowest: float | None = None
    highest: float | None = None
    types: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()

    def of(self, results: pa.RecordBatch) -> pa.RecordBatch:
        """Those of the results, which have the columns of `claim_score`, that it lets through."""
        chosen = _among(results.column("claim_type"), self.types)
        chosen &= _among(results.column("outcome"), self.outcomes)
        if self.decisions or self.lowest is not None or self.highest is not None:
            chosen &= self._scored(results.column("scores"))
        return results if chosen.all() else results.filter(pa.array(chosen))

    def _scored(self, scores: Any) -> npt.NDArray[np.bool_]:
        entries = scores.flatten()
        values = entries.field("score").to_numpy(zero_copy_only=False)
        fits = _among(entries.field("decision"), self.decisions)
        # As floats of the scores' own width: 0.9 is to find a score that is printed so.
        if self.lowest is not None:
            fits &= values >= np.float32(self.lowest)
        if self.highest is not None:
            fits &= values <= np.float32(self.highest)
        claim = np.repeat(np.arange(len(scores)), np.diff(scores.offsets.to_numpy()))
        return np.bincount(claim[fits], minlength=len(scores)) > 0


def _among(column: Any, words: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    if not words:
        return np.ones(len(column), np.bool_)
    return np.isin(column.to_numpy(zero_copy_only=False).astype(object), words)
