"""What batching decided, as metrics: counted when somebody reads them, not while claims wait to be scored."""

from __future__ import annotations

from collections import Counter, deque

from stream.decisions import Decision
from stream.metrics import StageMetrics


class DecisionCounts:
    """Any thread notes; whoever reads the metrics has it counted first."""

    def __init__(self, metrics: StageMetrics) -> None:
        self._metrics = metrics
        self._untold: deque[tuple[Decision, float]] = deque()
        metrics.before_reading(self._tell)

    def note(self, decision: Decision, seconds: float) -> None:
        """A batch is over that took so long."""
        self._untold.append((decision, seconds))

    def _tell(self) -> None:
        # What is noted meanwhile is told at the next reading.
        batches = [self._untold.popleft() for _ in range(len(self._untold))]
        for model in {decision.model for decision, _ in batches}:
            self._tell_of(model, [batch for batch in batches if batch[0].model == model])

    def _tell_of(self, model: str, batches: list[tuple[Decision, float]]) -> None:
        self._metrics.observe("batch_size", [decision.claims for decision, _ in batches], model)
        self._metrics.observe("inference_seconds", [seconds for _, seconds in batches], model)
        for reason, count in Counter(decision.reason for decision, _ in batches).items():
            self._metrics.count("batches_closed_total", count, model, reason)
        if given_up := sum(decision.given_up for decision, _ in batches):
            self._metrics.count("claims_set_aside_total", given_up, model)
