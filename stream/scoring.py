"""Micro-batch to outcome: gather, forward, keep the scores; a claim that fails its model fails alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
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


class ModelLease(Protocol):
    """A model that stays at least until the `with` block ends."""

    def __enter__(self) -> ScoringModel: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Scorer:
    """Scores micro-batches. `ceilings` are the sizes that memory allows, by lane, as far as it was found out."""

    def __init__(self, arena: ClaimArena, clock: Clock) -> None:
        self._arena = arena
        self._clock = clock
        self.ceilings: dict[int, int] = {}

    def score(self, batch: MicroBatch, model: ScoringModel) -> Outcome:
        """Forward the batch. A failing forward is halved until what fails stands alone; the others are scored."""
        failures: list[Failure] = []
        started, wall = self._clock.now(), self._clock.wall()
        scored = self._forward(model, batch.lane, batch.rows, failures)
        arena, rows = self._arena, batch.rows
        # A route's first model keeps the start of its forward; the last one overwrites it.
        arena.started[rows] = wall
        ended = self._clock.now()
        arena.inference[rows] += (ended - started) * 1_000.0
        arena.hop[scored] += 1
        return Outcome(scored, tuple(failures), ended)

    def _forward(self, model: ScoringModel, lane: int, rows: Rows, failures: list[Failure]) -> Rows:
        try:
            scores = model.score(self._arena.gather(model.spec_digest, rows))
        except (RuntimeError, ValueError, IndexError, MemoryError, ArithmeticError) as error:
            if len(rows) > 1:
                failed, middle = len(failures), len(rows) // 2
                halves = [
                    self._forward(model, lane, half, failures) for half in (rows[:middle], rows[middle:])
                ]
                # Where both halves went through it was the size, not a claim.
                if isinstance(error, MemoryError) and len(failures) == failed:
                    self.ceilings[lane] = min(self.ceilings.get(lane, len(rows)), middle)
                return np.concatenate(halves)
            reason = f"{model.identity.name} failed on this claim: {type(error).__name__}: {error}"
            failures.append(Failure(int(rows[0]), lane, ScoringError(reason)))
            return rows[:0]
        return self._keep(model, lane, rows, scores, failures)

    def _keep(
        self,
        model: ScoringModel,
        lane: int,
        rows: Rows,
        scores: npt.NDArray[np.float32],
        failures: list[Failure],
    ) -> Rows:
        finite = np.isfinite(scores)
        if not finite.all():
            name = model.identity.name
            for row, score in zip(rows[~finite].tolist(), scores[~finite].tolist(), strict=True):
                failures.append(Failure(row, lane, ScoringError(f"{name} gave the score {score}")))
            rows, scores = rows[finite], scores[finite]
        hop = self._arena.hop[rows]
        self._arena.score[rows, hop] = scores
        self._arena.decision[rows, hop] = model.decide(scores)
        return rows
