"""Micro-batch to outcome: gather, forward, keep the scores; a claim that fails its model fails alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models import DeviceError, ModelIdentity
from stream.arena import ClaimArena
from stream.clock import Clock
from stream.errors import FatalError, ScoringError
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


# What a model, or a library under it, raises about its input; anything else is a defect and ends the worker.
_MODEL_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
    MemoryError,
    ArithmeticError,
)


class Scorer:
    """Scores micro-batches. `ceilings` are the sizes that memory allows, by lane, as far as it was found out."""

    def __init__(self, arena: ClaimArena, clock: Clock) -> None:
        self._arena = arena
        self._clock = clock
        self.ceilings: dict[int, int] = {}

    def score(self, batch: MicroBatch, model: ScoringModel) -> Outcome:
        """Forward the batch. A failing forward is halved until what fails stands alone; the others are scored.

        That takes at most 2 · k · log2(n) forwards beyond the first for k claims that fail among n, and never more
        than 2 · n - 2; all of them together forward no claim more than log2(n) + 2 times. Raises FatalError when the
        device failed, or has no memory for a single claim: no claim is at fault, and a new process begins with a sound
        device, later each time.
        """
        failures: list[Failure] = []
        started, wall = self._clock.now(), self._clock.wall()
        scored, _ = self._forward(model, batch.lane, batch.rows, failures)
        arena, rows = self._arena, batch.rows
        # A route's first model keeps the start of its forward; the last one overwrites it.
        arena.started[rows] = wall
        ended = self._clock.now()
        arena.inference[rows] += (ended - started) * 1_000.0
        arena.hop[scored] += 1
        return Outcome(scored, tuple(failures), ended)

    def _forward(
        self, model: ScoringModel, lane: int, rows: Rows, failures: list[Failure]
    ) -> tuple[Rows, bool]:
        """The rows that were scored, and whether any forward failed."""
        try:
            scores = model.score(self._arena.gather(model.spec_digest, rows))
        except DeviceError as error:
            raise FatalError(f"{model.identity.name} cannot go on: {error}") from error
        except _MODEL_ERRORS as error:
            of_size = isinstance(error, MemoryError)
            if len(rows) > 1:
                return self._halves(model, lane, rows, failures, of_size=of_size), True
            if of_size:
                raise FatalError(
                    f"{model.identity.name} has no memory for a single claim: {error}"
                ) from error
            reason = f"{model.identity.name} failed on this claim: {type(error).__name__}: {error}"
            failures.append(Failure(int(rows[0]), lane, ScoringError(reason)))
            return rows[:0], True
        return self._keep(model, lane, rows, scores, failures), False

    def _halves(
        self, model: ScoringModel, lane: int, rows: Rows, failures: list[Failure], *, of_size: bool
    ) -> Rows:
        """The rows that were scored, of a batch that fails; `of_size`: perhaps only because it is that large."""
        middle = len(rows) // 2
        left, right = rows[:middle], rows[middle:]
        scored, left_failed = self._forward(model, lane, left, failures)
        if left_failed or of_size or len(right) == 1:
            more, right_failed = self._forward(model, lane, right, failures)
            # Where both halves went through it was the size, not a claim.
            if of_size and not left_failed and not right_failed:
                self.ceilings[lane] = min(self.ceilings.get(lane, len(rows)), middle)
        else:
            # What fails must be on the right: no forward is needed to learn that.
            more = self._halves(model, lane, right, failures, of_size=False)
        return np.concatenate((scored, more))

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
