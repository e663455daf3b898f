"""What batching decided, why, and what came of it: plain values that travel to whoever asks."""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stream.backpressure import Flow

_KEPT = 256


class Decision(NamedTuple):
    """One micro-batch: what was known of its lane, what left, and how long it took.

    `at`: seconds since the epoch. `slack_ms`: until the first claim that could be on time is due, None where none can.
    `cap_ms`: what other lanes leave. Of `claims`, `late` had been set aside before; `given_up` are set aside now.
    """

    at: float
    model: str
    version: str
    reason: str
    claims: int
    late: int
    given_up: int
    waiting: int
    aside: int
    rate: float
    slack_ms: float | None
    cap_ms: float | None
    target: int
    most: int
    pressure: float
    predicted_ms: float
    actual_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class LaneReport:
    """One version's lane: what waits, what is aimed at, what its batches cost, and why the latest were closed.

    `error`: median distance of a batch from its prediction, as a share of it. `reasons`: shares of the latest batches.
    """

    model: str
    version: str
    waiting: int
    aside: int
    rate: float
    target: int
    most: int
    fixed_ms: float
    each_us: float
    margin: float
    error: float | None
    reasons: Mapping[str, float]
    predicted_ms: float | None
    actual_ms: float | None


@dataclass(frozen=True, slots=True)
class BatchingStatus:
    """One worker's batching. `parts`: what each store or delay adds to the pressure, 0 to 1. `reserve_ms`: how much
    longer than `delivery_ms` delivery takes at most, nine times in ten. `held_by`: what keeps intake from reading, if
    anything does.
    """

    pressure: float
    parts: Mapping[str, float]
    flow: Flow
    held_by: str
    crowded: bool
    delivery_ms: float
    reserve_ms: float
    lanes: tuple[LaneReport, ...]
    decisions: tuple[Decision, ...]


class DecisionLog:
    """The latest decisions; one thread notes, any reads."""

    def __init__(self) -> None:
        self._latest: deque[tuple[Decision, float]] = deque(maxlen=_KEPT)

    def note(self, decision: Decision, seconds: float) -> None:
        """A batch is over that took so long."""
        self._latest.append((decision, seconds))

    def latest(self) -> tuple[Decision, ...]:
        """Oldest first."""
        noted = tuple(self._latest)
        return tuple(decision._replace(actual_ms=1_000.0 * seconds) for decision, seconds in noted)


def reasons(decisions: Sequence[Decision]) -> dict[str, float]:
    """Shares of why batches were closed."""
    counts = Counter(decision.reason for decision in decisions)
    return {reason: count / len(decisions) for reason, count in counts.most_common()}


def typical(decisions: Sequence[Decision]) -> tuple[float | None, float | None]:
    """Median predicted and actual milliseconds."""
    if not decisions:
        return None, None
    return (
        statistics.median(decision.predicted_ms for decision in decisions),
        statistics.median(decision.actual_ms for decision in decisions),
    )
