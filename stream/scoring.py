"""Micro-batch to outcome: gather, forward, keep the scores; a claim that fails its model fails alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models import ModelIdentity
from stream.arena import ClaimArena
from stream.clock import Clock
from stream.errors import ScoringError
from stream.records import Failure, MicroBatch, Outcome, Rows


class ScoringModel(Protocol):
    """All that scoring asks of a model."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def spec_digest(self) -> str: ...

    def score(self, features: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]: ...

    def decide(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]: ...


class Scorer:
    """Scores micro-batches; lane `i` belongs to `models[i]`."""

    def __init__(self, models: Sequence[ScoringModel], arena: ClaimArena, clock: Clock) -> None:
        self._models = models
        self._arena = arena
        self._clock = clock

    def score(self, batch: MicroBatch) -> Outcome:
        """Forward the batch. A failing forward is halved until what fails stands alone; the others are scored."""
        failures: list[Failure] = []
        started, wall = self._clock.now(), self._clock.wall()
        scored = self._forward(batch.lane, batch.rows, failures)
        arena, rows = self._arena, batch.rows
        # A route's first model keeps the start of its forward; the last one overwrites it.
        arena.started[rows] = wall
        arena.inference[rows] += (self._clock.now() - started) * 1_000.0
        arena.hop[scored] += 1
        return Outcome(scored, tuple(failures))

    def _forward(self, lane: int, rows: Rows, failures: list[Failure]) -> Rows:
        model = self._models[lane]
        try:
            scores = model.score(self._arena.gather(model.spec_digest, rows))
        except (RuntimeError, ValueError, IndexError, MemoryError, ArithmeticError) as error:
            if len(rows) > 1:
                middle = len(rows) // 2
                halves = [self._forward(lane, half, failures) for half in (rows[:middle], rows[middle:])]
                return np.concatenate(halves)
            reason = f"{model.identity.name} failed on this claim: {type(error).__name__}: {error}"
            failures.append(Failure(int(rows[0]), lane, ScoringError(reason)))
            return rows[:0]
        return self._keep(lane, rows, scores, failures)

    def _keep(self, lane: int, rows: Rows, scores: npt.NDArray[np.float32], failures: list[Failure]) -> Rows:
        finite = np.isfinite(scores)
        if not finite.all():
            name = self._models[lane].identity.name
            for row, score in zip(rows[~finite].tolist(), scores[~finite].tolist(), strict=True):
                failures.append(Failure(row, lane, ScoringError(f"{name} gave the score {score}")))
            rows, scores = rows[finite], scores[finite]
        hop = self._arena.hop[rows]
        self._arena.score[rows, hop] = scores
        self._arena.decision[rows, hop] = self._models[lane].decide(scores)
        self._arena.model[rows, hop] = lane
        return rows
