"""Micro-batch to outcome: gather, forward, keep the scores; a claim that fails its model fails alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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


# Memory that a batch lacked may be there again; finding out costs one forward that fails.
_CEILING_SECONDS = 600.0


@dataclass(slots=True)
class _Attempt:
    """What becomes of a batch: claims that failed, those that nothing was found out about, and whether any was decided.

    Its forwards begin before `until`, except that one claim is decided in any case.
    """

    model: ScoringModel
    lane: int
    until: float
    failures: list[Failure] = field(default_factory=list)
    unscored: list[Rows] = field(default_factory=list)
    decided: bool = False


class Scorer:
    """Scores micro-batches. `ceilings` are the sizes that memory allows, by lane, as far as it was found out lately.

    `patience`: seconds that the forwards of a failing batch take together; the last may end later.
    """

    def __init__(self, arena: ClaimArena, clock: Clock, patience: float = float("inf")) -> None:
        self._arena = arena
        self._clock = clock
        self._patience = patience
        self.ceilings: dict[int, int] = {}
        self._found: dict[int, float] = {}

    def score(self, batch: MicroBatch, model: ScoringModel) -> Outcome:
        """Forward the batch. A failing forward is halved until what fails stands alone; the others are scored.

        That takes at most 2 · k · log2(n) forwards beyond the first for k claims that fail among n, and never more
        than 2 · n - 2; all of them together forward no claim more than log2(n) + 2 times. When patience ends first,
        the rest comes back as unscored: a poisoned batch must not pass for a step that hangs, and its dead letters
        count before its end. At least one claim is decided. Raises FatalError when the device failed, or has no memory
        for a single claim: no claim is at fault, and a new process begins with a sound device, later each time.
        """
        started, wall = self._clock.now(), self._clock.wall()
        self._forget_ceiling(batch.lane, started)
        attempt = _Attempt(model, batch.lane, started + self._patience)
        scored, _ = self._forward(attempt, batch.rows)
        unscored = np.concatenate([batch.rows[:0], *attempt.unscored])
        arena, rows = self._arena, batch.rows
        if len(unscored):
            rows = np.setdiff1d(rows, unscored, assume_unique=True)
        # A route's first model keeps the start of its forward; the last one overwrites it.
        arena.started[rows] = wall
        ended = self._clock.now()
        arena.inference[rows] += (ended - started) * 1_000.0
        arena.hop[scored] += 1
        return Outcome(scored, tuple(attempt.failures), ended, unscored)

    def _forward(self, attempt: _Attempt, rows: Rows) -> tuple[Rows, bool]:
        """The rows that were scored, and whether any forward failed or was left for later."""
        if attempt.decided and self._clock.now() >= attempt.until:
            attempt.unscored.append(rows)
            return rows[:0], True
        model = attempt.model
        # What fails here is no fault of the claims, nor of their number.
        features = self._arena.gather(model.spec_digest, rows)
        try:
            scores = model.score(features)
        except DeviceError as error:
            raise FatalError(f"{model.identity.name} cannot go on: {error}") from error
        except _MODEL_ERRORS as error:
            of_size = isinstance(error, MemoryError)
            if len(rows) > 1:
                return self._halves(attempt, rows, of_size=of_size), True
            if of_size:
                raise FatalError(
                    f"{model.identity.name} has no memory for a single claim: {error}"
                ) from error
            reason = f"{model.identity.name} failed on this claim: {type(error).__name__}: {error}"
            attempt.failures.append(Failure(int(rows[0]), attempt.lane, ScoringError(reason)))
            attempt.decided = True
            return rows[:0], True
        attempt.decided = True
        return self._keep(attempt, rows, scores), False

    def _halves(self, attempt: _Attempt, rows: Rows, *, of_size: bool) -> Rows:
        """The rows that were scored, of a batch that fails; `of_size`: perhaps only because it is that large."""
        middle = len(rows) // 2
        left, right = rows[:middle], rows[middle:]
        scored, left_failed = self._forward(attempt, left)
        if left_failed or of_size or len(right) == 1:
            more, right_failed = self._forward(attempt, right)
            # Where both halves went through it was the size, not a claim.
            if of_size and not left_failed and not right_failed:
                self._limit(attempt.lane, min(self.ceilings.get(attempt.lane, len(rows)), middle))
        else:
            # What fails must be on the right: no forward is needed to learn that.
            more = self._halves(attempt, right, of_size=False)
        return np.concatenate((scored, more))

    def _limit(self, lane: int, claims: int) -> None:
        self.ceilings[lane] = claims
        self._found[lane] = self._clock.now()

    def _forget_ceiling(self, lane: int, now: float) -> None:
        """A batch as large as before is tried again."""
        if lane in self._found and now - self._found[lane] >= _CEILING_SECONDS:
            del self._found[lane], self.ceilings[lane]

    def _keep(self, attempt: _Attempt, rows: Rows, scores: npt.NDArray[np.float32]) -> Rows:
        finite = np.isfinite(scores)
        if not finite.all():
            name = attempt.model.identity.name
            for row, score in zip(rows[~finite].tolist(), scores[~finite].tolist(), strict=True):
                error = ScoringError(f"{name} gave the score {score}")
                attempt.failures.append(Failure(row, attempt.lane, error))
            rows, scores = rows[finite], scores[finite]
        hop = self._arena.hop[rows]
        self._arena.score[rows, hop] = scores
        self._arena.decision[rows, hop] = attempt.model.decide(scores)
        return rows
