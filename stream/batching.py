"""Which micro-batch is scored next: the policy applied to all lanes, with what is known of each model's speed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from stream.batch_policy import Close, Wait, decide
from stream.batch_sizer import CurveFit, SizeLimits, target_size
from stream.lanes import Lanes, LaneView
from stream.metrics import StageMetrics
from stream.records import MicroBatch


class Batcher:
    """Earliest deadline first among the lanes whose batch may close.

    `ready(lane)` says whether the lane's model is on the device; lanes whose model is not gather claims meanwhile.
    """

    def __init__(
        self,
        lanes: Lanes,
        name: Callable[[int], str],
        ready: Callable[[int], bool],
        limits: SizeLimits,
        delivery: float,
        metrics: StageMetrics,
    ) -> None:
        self._lanes = lanes
        self._name = name
        self._ready = ready
        self._limits = limits
        self._delivery = delivery
        self._metrics = metrics
        self._fits: defaultdict[int, CurveFit] = defaultdict(CurveFit)
        self.draining = False
        self.lacking: frozenset[int] = frozenset()

    def next(self, now: float) -> MicroBatch | Wait:
        """The batch to score now, or until when to wait; an infinite wait ends when claims arrive."""
        until = float("inf")
        views = sorted(self._lanes.views(now), key=lambda lane: lane.deadline)
        ready = [view for view in views if self._ready(view.lane)]
        self.lacking = frozenset(view.lane for view in views) - {view.lane for view in ready}
        for view in ready:
            decision = self._decide(view, now)
            if isinstance(decision, Close):
                return self._close(view.lane, decision)
            until = min(until, decision.until)
        return Wait(until)

    def put_back(self, batch: MicroBatch, deadline: float, now: float) -> None:
        """A batch whose model left the device in that moment: its claims are first again."""
        self._lanes.put_back(batch.lane, batch.rows, deadline, now)

    def observe(self, batch: MicroBatch, seconds: float) -> None:
        """Learn from how long a batch took."""
        name = self._name(batch.lane)
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
