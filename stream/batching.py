"""Which micro-batch is scored next: the policy applied to all lanes, with what is known of each model's speed."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from models import ModelIdentity
from stream.batch_policy import (
    NO_DEMAND,
    Close,
    Demand,
    Situation,
    Wait,
    decide,
    demand,
    worth_giving_up,
    worth_waiting_for,
)
from stream.batch_sizer import IDLE, DeviceLoad, SizeLimits, Sizes, size_by_load, sizes
from stream.cost_model import CostModel, LatencyCurve
from stream.decisions import Decision, DecisionLog, LaneReport, reasons, typical
from stream.lane_order import Urgency, turns
from stream.lanes import Lanes, LaneView, Portion
from stream.metrics import StageMetrics
from stream.records import MicroBatch
from stream.scoring import ModelLease
from stream.speeds import name_of

log = logging.getLogger(__name__)

_EXPLORE = 16
# A model may have been let go for this moment only, of which nobody tells.
_AGAIN = 0.005


class LaneModels(Protocol):
    """The models of the lanes, as far as they are on the device; never waits for one."""

    def identity(self, lane: int) -> ModelIdentity: ...

    def names(self, lane: int) -> frozenset[str]: ...

    def ready(self, lane: int) -> bool: ...

    def resident(self, lane: int) -> ModelLease | None: ...


class Chosen(NamedTuple):
    """A micro-batch and its model, which stays until the lease ends, whatever becomes of its lane meanwhile."""

    batch: MicroBatch
    lease: ModelLease
    decision: Decision


@dataclass(frozen=True, slots=True)
class BatchingRules:
    """Seconds and sizes that hold for all lanes.

    `budget`: from a claim's timestamp to its acknowledgement. `spare`: claims that can no longer be on time are set
    aside; those that have waited there for more than `latest` go first, and a lane in which some have been late for so
    long takes its turn. `base`: the size that the load of the device shrinks, None where sizes follow from speed and
    arrivals. `head_starts`: seconds by which the claims of a model, named as in the routes, go ahead of their deadline
    when the next lane is chosen.
    """

    limits: SizeLimits
    budget: float
    spare: bool = True
    latest: float = 2.0
    base: int | None = None
    head_starts: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Conditions:
    """What the rest of the stage knows and batching heeds; whoever knows it writes it down here.

    `delivery`: seconds from the end of a forward to acknowledgement that are to be expected; nine times in ten it takes
    no more than `reserve` longer. `crowded`: too much is set aside.
    `device`: how busy it is. `ceilings`: claims that memory allows, by lane.
    """

    delivery: float = 0.0
    reserve: float = 0.0
    pressure: float = 0.0
    crowded: bool = False
    draining: bool = False
    device: DeviceLoad = IDLE
    ceilings: dict[int, int] = field(default_factory=dict)

    def expect_delivery(self, typical: float, slow: float, budget: float) -> None:
        """`slow`: seconds that nine deliveries in ten do not exceed.

        However slow delivery is, half of the budget is for scoring: nothing would be worth it otherwise.
        """
        self.delivery = min(typical, 0.5 * budget)
        self.reserve = min(slow, 0.5 * budget) - self.delivery


class Batcher:
    """Earliest deadline first among the lanes whose batch may close; a lane without its model gathers meanwhile.

    Priority is a head start in this order: it puts a lane before others without ever making them wait for ever, and
    only lanes with as great a head start shorten its batches.

    A model of which one claim takes more than half of the budget is slow: it has a scoring loop of its own, which asks
    for `slow` lanes; no other would be on time behind it.
    """

    def __init__(
        self,
        lanes: Lanes,
        models: LaneModels,
        rules: BatchingRules,
        metrics: StageMetrics,
        speeds: Mapping[str, LatencyCurve] | None = None,
    ) -> None:
        self._lanes = lanes
        self._models = models
        self._rules = rules
        self._metrics = metrics
        self._speeds = speeds or {}
        self._costs: dict[int, CostModel] = {}
        self.conditions = Conditions()
        self.decided = DecisionLog()
        self._slow: frozenset[int] = frozenset()
        self._hopeless: frozenset[int] = frozenset()
        self._closed = 0
        self.lacking: frozenset[int] = frozenset()

    def next(self, now: float, wall: float = 0.0, *, slow: bool = False) -> Chosen | Wait:
        """The batch to score now, or until when to wait; an infinite wait ends when claims arrive."""
        until = math.inf
        views = self._lanes.views(now)
        self.lacking = frozenset([view.lane for view in views if not self._models.ready(view.lane)])
        mine = [view for view in views if view.lane not in self.lacking and self.is_slow(view.lane) == slow]
        for view, at in self._in_order(mine, now, slow=slow):
            decision = decide(view, at, now)
            if isinstance(decision, Wait):
                until = min(until, decision.until)
            elif (chosen := self._close(view, at, decision, now, wall)) is not None:
                return chosen
            else:
                until = min(until, now + _AGAIN)
        return Wait(until)

    @property
    def has_slow(self) -> bool:
        """Whether any model is scored apart."""
        return bool(self._slow)

    def speeds(self) -> dict[str, LatencyCurve]:
        """What was learned, by the name of version and device; for the next run."""
        learned = {lane: cost.curve for lane, cost in list(self._costs.items()) if cost.learned}
        return {
            name_of(self._models.identity(lane)): curve for lane, curve in learned.items() if curve.each > 0.0
        }

    def _cost(self, lane: int) -> CostModel:
        if (cost := self._costs.get(lane)) is None:
            known = self._speeds.get(name_of(self._models.identity(lane)))
            cost = self._costs[lane] = CostModel(known)
        return cost

    def is_slow(self, lane: int) -> bool:
        """Whether its model is scored apart."""
        return lane in self._slow

    def observe(self, chosen: Chosen, seconds: float) -> bool:
        """Learn from how long a batch took; whether the other scoring loop serves its lane from now on."""
        count, decision, cost = len(chosen.batch.rows), chosen.decision, self._cost(chosen.batch.lane)
        before = self.is_slow(chosen.batch.lane)
        cost.observe(count, seconds)
        if (single := cost.single) is not None:
            self._judge(chosen.batch.lane, single)
        self.decided.note(decision, seconds)
        self._metrics.count("batches_closed_total", 1, decision.model, decision.reason)
        if decision.given_up:
            self._metrics.count("claims_set_aside_total", decision.given_up, decision.model)
        self._metrics.observe_one("batch_size", count, decision.model)
        self._metrics.observe_one("inference_seconds", seconds, decision.model)
        return self.is_slow(chosen.batch.lane) != before

    def _judge(self, lane: int, single: float) -> None:
        """Whether one claim of a lane takes too long for its budget, or for the other lanes."""
        if single > self._rules.budget and lane not in self._hopeless:
            self._hopeless |= {lane}
            identity = self._models.identity(lane)
            self._metrics.set("models_beyond_budget", len(self._hopeless))
            log.warning(
                "%s %s: one claim takes %.0f ms, the budget is %.0f ms: none can be on time, all are scored; raise "
                "latency.budget_ms or take a faster model",
                identity.name,
                identity.version,
                1_000 * single,
                1_000 * self._rules.budget,
            )
        if single > 0.5 * self._rules.budget:
            self._slow |= {lane}
        elif single < 0.25 * self._rules.budget:
            self._slow -= {lane}

    def report(self, now: float) -> tuple[LaneReport, ...]:
        """Every lane in which something waits or was scored lately."""
        latest = self.decided.latest()
        told = {*(view.lane for view in self._lanes.views(now)), *list(self._costs)}
        return tuple(self._report(self._lanes.view(lane, now), latest) for lane in sorted(told))

    def _in_order(self, views: list[LaneView], now: float, *, slow: bool) -> list[tuple[LaneView, Situation]]:
        """The lanes, whoever goes first first, each with what decides about it."""
        if not views:
            return []
        if len(views) == 1 and self._lanes.is_alone(views[0].lane):
            return [(views[0], self._situation(views[0], NO_DEMAND, now))]
        demands = self._demands(now, slow=slow)
        every = functools.reduce(Demand.plus, demands.values(), NO_DEMAND)
        found = [self._situation(view, every.less(demands.get(view.lane, NO_DEMAND)), now) for view in views]
        if len(views) == 1:
            return list(zip(views, found, strict=True))
        urgencies = [self._urgency(view, at, now) for view, at in zip(views, found, strict=True)]
        return [
            (views[turn.place], found[turn.place]._replace(cap=turn.cap, now_or_late=turn.now_or_late))
            for turn in turns(urgencies, now, self._rules.budget)
        ]

    def _demands(self, now: float, *, slow: bool) -> dict[int, Demand]:
        """What each of the lanes takes that share a scoring loop."""
        return {
            lane: demand(self._cost(lane).curve, rate, self._rules.budget)
            for lane, rate in self._lanes.rates(now).items()
            if self.is_slow(lane) == slow
        }

    def _urgency(self, view: LaneView, at: Situation, now: float) -> Urgency:
        ready = now + at.delivery
        first = view.due_before(ready + at.curve.seconds(1))
        count = min(view.waiting - first, at.sizes.most)
        start = view.deadlines.item(first) - at.delivery - at.curve.seconds(count) if count else math.inf
        in_turn = bool(first) and not at.spare
        # Where all are late there is no start to go by, and lanes that have one would come first for ever.
        overdue = now - view.late_since > self._rules.latest
        worth = worth_waiting_for(at.curve, view.rate, at.budget, at.sizes.most, at.others)
        return Urgency(
            start,
            start < now or at.crowded or in_turn or overdue,
            min(worth, 0.5 * self._rules.budget),
            view.since,
            self._head_start(view.lane),
        )

    def _head_start(self, lane: int) -> float:
        starts = self._rules.head_starts
        return max((starts.get(name, 0.0) for name in self._models.names(lane)), default=0.0)

    def _situation(self, view: LaneView, others: Demand, now: float) -> Situation:
        rules, conditions, cost = self._rules, self.conditions, self._cost(view.lane)
        sizes = self._sizes(view.lane, cost, view.rate)
        budget = min(rules.budget, view.left) - conditions.delivery
        return Situation(
            cost.curve,
            sizes,
            budget,
            conditions.delivery,
            cost.margin,
            conditions.reserve,
            others=others,
            spare=rules.spare,
            give_up=worth_giving_up(cost.curve, cost.margin, view.rate, sizes.most, budget, others),
            crowded=self._crowded(view, now),
            draining=conditions.draining,
        )

    def _sizes(self, lane: int, cost: CostModel, rate: float) -> Sizes:
        conditions, limits = self.conditions, self._rules.limits
        if self._rules.base is not None:
            size = size_by_load(self._rules.base, conditions.device, limits)
            limits = SizeLimits(size, size, automatic=False)
        return sizes(
            cost.curve,
            rate,
            limits,
            pressure=conditions.pressure,
            ceiling=conditions.ceilings.get(lane),
            dearest=cost.dearest,
        )

    def _crowded(self, view: LaneView, now: float) -> bool:
        return self.conditions.crowded or now - view.aside_since > self._rules.latest

    def _close(self, view: LaneView, at: Situation, close: Close, now: float, wall: float) -> Chosen | None:
        """The rows leave the lane only with their model; None when it has gone since it was looked at, or they have."""
        if (lease := self._models.resident(view.lane)) is None:
            self.lacking |= {view.lane}
            return None
        close = self._explore(view.lane, close)
        rows = self._lanes.take(view.lane, close.portion, now)
        if not len(rows):
            with lease:
                return None
        batch = MicroBatch(view.lane, rows, close.reason)
        return Chosen(batch, lease, self._decision(batch, view, at, close, now, wall))

    def _explore(self, lane: int, close: Close) -> Close:
        """Now and then half a batch, while all were of one size: a line needs two."""
        self._closed += 1
        portion = close.portion
        if portion.taken < 2 or self._closed % _EXPLORE or not self._cost(lane).narrow:
            return close
        return Close(Portion(portion.skip, (portion.taken + 1) // 2, portion.aside), close.reason)

    def _decision(
        self, batch: MicroBatch, view: LaneView, at: Situation, close: Close, now: float, wall: float
    ) -> Decision:
        identity, count, skip = self._models.identity(view.lane), len(batch.rows), close.portion.skip
        # Some of those set aside now may fill this very batch.
        at_once = max(close.portion.aside - view.aside, 0)
        return Decision(
            wall,
            identity.name,
            identity.version,
            close.reason.value,
            count,
            close.portion.aside,
            skip - at_once,
            view.waiting,
            view.aside,
            view.rate,
            1_000.0 * (view.deadlines.item(skip) - now) if close.portion.taken else None,
            1_000.0 * at.cap if at.cap < math.inf else None,
            at.sizes.target,
            at.sizes.most,
            self.conditions.pressure,
            1_000.0 * at.curve.seconds(count),
        )

    def _report(self, view: LaneView, latest: Sequence[Decision]) -> LaneReport:
        identity, cost = self._models.identity(view.lane), self._cost(view.lane)
        mine = [each for each in latest if (each.model, each.version) == (identity.name, identity.version)]
        aims, (predicted, actual) = self._sizes(view.lane, cost, view.rate), typical(mine)
        return LaneReport(
            identity.name,
            identity.version,
            view.waiting,
            view.aside,
            view.rate,
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
