"""Which micro-batch is scored next: the policy applied to all lanes, with what is known of each model's speed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from models import ModelIdentity
from stream.batch_policy import Close, Situation, Wait, decide
from stream.batch_sizer import SizeLimits, Sizes, sizes
from stream.cost_model import CostModel
from stream.decisions import Decision, DecisionLog, LaneReport, reasons, typical
from stream.lanes import Lanes, LaneView
from stream.metrics import StageMetrics
from stream.records import MicroBatch
from stream.scoring import ModelLease


class LaneModels(Protocol):
    """The models of the lanes, as far as they are on the device; never waits for one."""

    def identity(self, lane: int) -> ModelIdentity: ...

    def ready(self, lane: int) -> bool: ...

    def resident(self, lane: int) -> ModelLease | None: ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """A micro-batch and its model, which stays until the lease ends, whatever becomes of its lane meanwhile."""

    batch: MicroBatch
    lease: ModelLease
    decision: Decision


@dataclass(frozen=True, slots=True)
class BatchingRules:
    """Seconds and sizes that hold for all lanes.

    `budget`: from a claim's timestamp to its acknowledgement. `spare`: claims that can no longer be on time are set
    aside; those that are late by more than `latest` go first.
    """

    limits: SizeLimits
    budget: float
    spare: bool = True
    latest: float = 10.0


@dataclass(slots=True)
class Conditions:
    """What the rest of the stage knows and batching heeds; whoever knows it writes it down here.

    `delivery`: predicted seconds from the end of a forward to acknowledgement. `crowded`: too much is set aside.
    `ceilings`: claims that memory allows, by lane.
    """

    delivery: float = 0.0
    pressure: float = 0.0
    crowded: bool = False
    draining: bool = False
    ceilings: dict[int, int] = field(default_factory=dict)


class Batcher:
    """Earliest deadline first among the lanes whose batch may close; a lane without its model gathers meanwhile."""

    def __init__(
        self,
        lanes: Lanes,
        models: LaneModels,
        rules: BatchingRules,
        metrics: StageMetrics,
        costs: Mapping[int, CostModel] | None = None,
    ) -> None:
        self._lanes = lanes
        self._models = models
        self._rules = rules
        self._metrics = metrics
        self._costs: defaultdict[int, CostModel] = defaultdict(CostModel, costs or {})
        self.conditions = Conditions()
        self.decided = DecisionLog()
        self.lacking: frozenset[int] = frozenset()

    def next(self, now: float, wall: float = 0.0) -> Chosen | Wait:
        """The batch to score now, or until when to wait; an infinite wait ends when claims arrive."""
        until = math.inf
        views = self._lanes.views(now)
        self.lacking = frozenset(view.lane for view in views if not self._models.ready(view.lane))
        for view, cap in self._in_order([view for view in views if view.lane not in self.lacking], now):
            at = self._situation(view, cap, now)
            decision = decide(view, at, now)
            if isinstance(decision, Wait):
                until = min(until, decision.until)
            elif (chosen := self._close(view, at, decision, now, wall)) is not None:
                return chosen
        return Wait(until)

    def observe(self, chosen: Chosen, seconds: float) -> None:
        """Learn from how long a batch took."""
        count, decision = len(chosen.batch.rows), chosen.decision
        self._costs[chosen.batch.lane].observe(count, seconds)
        self.decided.note(decision._replace(actual_ms=1_000.0 * seconds))
        self._metrics.count("batches_closed_total", 1, decision.model, decision.reason)
        if decision.given_up:
            self._metrics.count("claims_set_aside_total", decision.given_up, decision.model)
        self._metrics.observe_one("batch_size", count, decision.model)
        self._metrics.observe_one("inference_seconds", seconds, decision.model)

    def report(self, now: float) -> tuple[LaneReport, ...]:
        """Every lane in which something waits or was scored lately."""
        latest = self.decided.latest()
        views = {view.lane: view for view in self._lanes.views(now)}
        return tuple(
            self._report(lane, views.get(lane), latest) for lane in sorted({*views, *list(self._costs)})
        )

    def _in_order(self, views: list[LaneView], now: float) -> list[tuple[LaneView, float]]:
        """The lanes, most urgent first, each with the seconds that the others leave it."""
        if len(views) < 2:
            return [(view, math.inf) for view in views]
        starts = [(self._latest_start(view, now), view.deadline, view) for view in views]
        starts.sort(key=lambda entry: entry[:2])
        first, second = starts[0][0] - now, starts[1][0] - now
        return [(view, first if place else second) for place, (_, _, view) in enumerate(starts)]

    def _latest_start(self, view: LaneView, now: float) -> float:
        """When the first of its claims that can be on time has to begin; infinity where none can."""
        if self._crowded(view, now):
            return view.deadline
        latest = view.deadlines - (self.conditions.delivery + self._costs[view.lane].cautious.seconds(1))
        place = int(latest.searchsorted(now))
        return float(latest[place]) if place < len(latest) else math.inf

    def _situation(self, view: LaneView, cap: float, now: float) -> Situation:
        rules, conditions = self._rules, self.conditions
        return Situation(
            self._costs[view.lane].cautious,
            self._sizes(view.lane, view.rate),
            rules.budget - conditions.delivery,
            conditions.delivery,
            cap,
            spare=rules.spare,
            crowded=self._crowded(view, now),
            draining=conditions.draining,
        )

    def _sizes(self, lane: int, rate: float) -> Sizes:
        conditions = self.conditions
        return sizes(
            self._costs[lane].curve,
            rate,
            self._rules.limits,
            pressure=conditions.pressure,
            ceiling=conditions.ceilings.get(lane),
        )

    def _crowded(self, view: LaneView, now: float) -> bool:
        return self.conditions.crowded or now - view.aside_since > self._rules.latest

    def _close(self, view: LaneView, at: Situation, close: Close, now: float, wall: float) -> Chosen | None:
        """The rows leave the lane only with their model; None when it has gone since it was looked at, or they have."""
        if (lease := self._models.resident(view.lane)) is None:
            self.lacking |= {view.lane}
            return None
        rows = self._lanes.take(view.lane, close.portion, now)
        if not len(rows):
            with lease:
                return None
        batch = MicroBatch(view.lane, rows, close.reason)
        return Chosen(batch, lease, self._decision(batch, view, at, close, now, wall))

    def _decision(
        self, batch: MicroBatch, view: LaneView, at: Situation, close: Close, now: float, wall: float
    ) -> Decision:
        identity, count, skip = self._models.identity(view.lane), len(batch.rows), close.portion.skip
        return Decision(
            wall,
            identity.name,
            identity.version,
            close.reason.value,
            count,
            close.portion.aside,
            skip,
            view.waiting,
            view.aside,
            view.rate,
            1_000.0 * (view.deadlines.item(skip) - now) if close.portion.count else None,
            1_000.0 * at.cap if at.cap < math.inf else None,
            at.sizes.target,
            at.sizes.most,
            self.conditions.pressure,
            1_000.0 * self._costs[view.lane].curve.seconds(count),
            0.0,
        )

    def _report(self, lane: int, view: LaneView | None, latest: Sequence[Decision]) -> LaneReport:
        identity, cost = self._models.identity(lane), self._costs[lane]
        mine = [each for each in latest if (each.model, each.version) == (identity.name, identity.version)]
        rate = view.rate if view is not None else 0.0
        aims, (predicted, actual) = self._sizes(lane, rate), typical(mine)
        return LaneReport(
            identity.name,
            identity.version,
            view.waiting if view is not None else 0,
            view.aside if view is not None else 0,
            rate,
            aims.target,
            aims.most,
            1_000.0 * cost.curve.fixed,
            1_000_000.0 * cost.curve.each,
            cost.margin,
            cost.error,
            reasons(mine),
            predicted,
            actual,
        )
