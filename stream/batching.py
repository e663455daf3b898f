"""Which micro-batch is scored next: the policy applied to all lanes, with what is known of each model's speed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from stream.batch_policy import Close, Situation, Wait, decide
from stream.batch_sizer import SizeLimits, sizes
from stream.cost_model import CostModel
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
    predicted: float


@dataclass(frozen=True, slots=True)
class BatchingRules:
    """Seconds and sizes that hold for all lanes.

    `budget`: from a claim's timestamp to its acknowledgement. `spare`: claims that can no longer be on time are set
    aside; those that are late by more than `latest` go first.
    """

    limits: SizeLimits
    budget: float
    delivery: float
    spare: bool = True
    latest: float = 10.0


class Batcher:
    """Earliest deadline first among the lanes whose batch may close; a lane without its model gathers meanwhile."""

    def __init__(
        self,
        lanes: Lanes,
        name: Callable[[int], str],
        models: LaneModels,
        rules: BatchingRules,
        metrics: StageMetrics,
        costs: Mapping[int, CostModel] | None = None,
    ) -> None:
        self._lanes = lanes
        self._name = name
        self._models = models
        self._rules = rules
        self._metrics = metrics
        self._costs: defaultdict[int, CostModel] = defaultdict(CostModel, costs or {})
        self.draining = False
        self.pressure = 0.0
        self.crowded = False
        self.lacking: frozenset[int] = frozenset()

    def next(self, now: float) -> Chosen | Wait:
        """The batch to score now, or until when to wait; an infinite wait ends when claims arrive."""
        until = float("inf")
        views = self._lanes.views(now)
        self.lacking = frozenset(view.lane for view in views if not self._models.ready(view.lane))
        for view, cap in self._in_order([view for view in views if view.lane not in self.lacking], now):
            decision = decide(view, self._situation(view, cap, now), now)
            if isinstance(decision, Wait):
                until = min(until, decision.until)
            elif (chosen := self._close(view, decision, now)) is not None:
                return chosen
        return Wait(until)

    def observe(self, chosen: Chosen, seconds: float) -> None:
        """Learn from how long a batch took."""
        batch = chosen.batch
        name = self._name(batch.lane)
        self._costs[batch.lane].observe(len(batch.rows), seconds)
        self._metrics.count("batches_closed_total", 1, name, batch.reason.value)
        self._metrics.observe("batch_size", len(batch.rows), name)
        self._metrics.observe("inference_seconds", seconds, name)

    def _in_order(self, views: list[LaneView], now: float) -> list[tuple[LaneView, float]]:
        """The lanes, most urgent first, each with the seconds that the others leave it."""
        if len(views) < 2:
            return [(view, float("inf")) for view in views]
        starts = [(self._latest_start(view, now), view.deadline, view) for view in views]
        starts.sort(key=lambda entry: entry[:2])
        first, second = starts[0][0] - now, starts[1][0] - now
        return [(view, first if place else second) for place, (_, _, view) in enumerate(starts)]

    def _latest_start(self, view: LaneView, now: float) -> float:
        """When the first of its claims that can be on time has to begin; infinity where none can."""
        single = self._costs[view.lane].cautious.seconds(1)
        latest = view.deadlines - (self._rules.delivery + single)
        place = int(latest.searchsorted(now))
        return float(latest[place]) if place < len(latest) else float("inf")

    def _situation(self, view: LaneView, cap: float, now: float) -> Situation:
        rules, cost = self._rules, self._costs[view.lane]
        return Situation(
            cost.cautious,
            sizes(cost.curve, view.rate, rules.limits, pressure=self.pressure),
            rules.budget - rules.delivery,
            rules.delivery,
            cap,
            spare=rules.spare,
            crowded=self.crowded or now - view.aside_since > rules.latest,
            draining=self.draining,
        )

    def _close(self, view: LaneView, decision: Close, now: float) -> Chosen | None:
        """The rows leave the lane only with their model; None when it has gone since it was looked at, or they have."""
        if (lease := self._models.resident(view.lane)) is None:
            self.lacking |= {view.lane}
            return None
        rows = self._lanes.take(view.lane, decision.portion, now)
        if not len(rows):
            with lease:
                return None
        predicted = self._costs[view.lane].curve.seconds(len(rows))
        return Chosen(MicroBatch(view.lane, rows, decision.reason), lease, predicted)
