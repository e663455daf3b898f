"""Which micro-batch is scored next: the policy applied to all lanes, with what is known of each model's speed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from stream.batch_policy import Close, Wait, decide
from stream.batch_sizer import CurveFit, SizeLimits, target_size
from stream.lanes import Lanes, LaneView
from stream.metrics import StageMetrics
from stream.records import MicroBatch
from stream.scoring import ModelLease


class LaneModels(Protocol):
    """The models of the lanes, as far as they are on the device; never waits for one."""

    def ready(self, lane: int) -> bool: ...

    def resident(self, lane: int) -> ModelLease | None: ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """A micro-batch and its model, which stays until the lease ends, whatever becomes of its lane meanwhile."""

    batch: MicroBatch
    lease: ModelLease


class Batcher:
    """Earliest deadline first among the lanes whose batch may close; a lane without its model gathers meanwhile."""

    def __init__(
        self,
        lanes: Lanes,
        name: Callable[[int], str],
        models: LaneModels,
        limits: SizeLimits,
        delivery: float,
        metrics: StageMetrics,
    ) -> None:
        self._lanes = lanes
        self._name = name
        self._models = models
        self._limits = limits
        self._delivery = delivery
        self._metrics = metrics
        self._fits: defaultdict[int, CurveFit] = defaultdict(CurveFit)
        self.draining = False
        self.lacking: frozenset[int] = frozenset()

    def next(self, now: float) -> Chosen | Wait:
        """The batch to score now, or until when to wait; an infinite wait ends when claims arrive."""
        until = float("inf")
        views = sorted(self._lanes.views(now), key=lambda lane: lane.deadline)
        self.lacking = frozenset(view.lane for view in views if not self._models.ready(view.lane))
        for view in views:
            if view.lane in self.lacking:
                continue
            decision = self._decide(view, now)
            if isinstance(decision, Wait):
                until = min(until, decision.until)
            elif (chosen := self._close(view.lane, decision)) is not None:
                return chosen
        return Wait(until)

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

    def _close(self, lane: int, decision: Close) -> Chosen | None:
        """The rows leave the lane only with their model; None when it has gone since it was looked at."""
        if (lease := self._models.resident(lane)) is None:
            self.lacking |= {lane}
            return None
        return Chosen(MicroBatch(lane, self._lanes.take(lane, decision.count), decision.reason), lease)
