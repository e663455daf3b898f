"""Which micro-batch is scored next: the policy applied to all lanes, with what is known of each model's speed."""

from __future__ import annotations

from collections.abc import Sequence

from stream.batch_policy import Close, Wait, decide
from stream.batch_sizer import CurveFit, SizeLimits, target_size
from stream.lanes import Lanes, LaneView
from stream.metrics import StageMetrics
from stream.records import MicroBatch


class Batcher:
    """Earliest deadline first among the lanes whose batch may close."""

    def __init__(
        self,
        lanes: Lanes,
        names: Sequence[str],
        limits: SizeLimits,
        delivery: float,
        metrics: StageMetrics,
    ) -> None:
        self._lanes = lanes
        self._names = names
        self._limits = limits
        self._delivery = delivery
        self._metrics = metrics
        self._fits = [CurveFit() for _ in names]
        self.draining = False

    def next(self, now: float) -> MicroBatch | Wait:
        """The batch to score now, or until when to wait; an infinite wait ends when claims arrive."""
        until = float("inf")
        for view in sorted(self._lanes.views(now), key=lambda lane: lane.deadline):
            decision = self._decide(view, now)
            if isinstance(decision, Close):
                return self._close(view.lane, decision)
            until = min(until, decision.until)
        return Wait(until)

    def observe(self, batch: MicroBatch, seconds: float) -> None:
        """Learn from how long a batch took."""
        name = self._names[batch.lane]
        self._fits[batch.lane].observe(len(batch.rows), seconds)
        self._metrics.count("batches_closed_total", 1, name, batch.reason.value)
        self._metrics.observe("batch_size", len(batch.rows), name)
        self._metrics.observe("inference_seconds", seconds, name)

    def _decide(self, view: LaneView, now: float) -> Close | Wait:
        curve = self._fits[view.lane].curve()
        target = target_size(curve, view.deadline - self._delivery - now, self._limits)
        return decide(view, curve, target, self._delivery, now, draining=self.draining)

    def _close(self, lane: int, decision: Close) -> MicroBatch:
        return MicroBatch(lane, self._lanes.take(lane, decision.count), decision.reason)
