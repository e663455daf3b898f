"""When to close a micro-batch, with which claims, and why: pure.

While everything can be on time, whatever waits is scored as soon as waiting for more does not pay. Where it cannot,
serving the oldest first would make every claim a little late: batches stay small, because their oldest claim is almost
due, small batches score too few claims a second, and the next claims are almost due again. So the oldest are given up,
as many as it takes for a batch that is large enough:

- Batches of n, one after the other, keep up with `rate` when each takes fixed / (1 - each * rate); where other lanes
  take their turns in between, when it takes what comes in such a round.
- Where no size keeps up, the most claims are on time when each batch takes all that are younger than A, and ends just
  when the oldest of them is due: A + fixed + each * rate * A = budget.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from stream.batch_sizer import Sizes
from stream.cost_model import LatencyCurve
from stream.lanes import LaneView, Portion
from stream.records import CloseReason

# Where the fixed cost is no more of a batch than this, no claim is given up for a longer one.
_FIXED_SHARE = 0.15
# Up to this share of the device nobody is given up.
_CALM = 0.7
# Predictions that one batch in ten exceeds by more than this share are too uncertain for it.
_SURE = 0.25
# Late claims take this share of the time that those who come meanwhile can spare: no prediction is exact.
_BREATH = 0.5


class Close(NamedTuple):
    """Close now, with these claims."""

    portion: Portion
    reason: CloseReason


class Wait(NamedTuple):
    """Ask again at `until`, or when more claims have come."""

    until: float


class Demand(NamedTuple):
    """What lanes take of the device.

    `busy`: the share of its time that their claims take by themselves; `fixed`: what one batch of each takes beside.
    """

    fixed: float = 0.0
    busy: float = 0.0

    def plus(self, other: Demand) -> Demand:
        return Demand(self.fixed + other.fixed, self.busy + other.busy)

    def less(self, other: Demand) -> Demand:
        return Demand(max(self.fixed - other.fixed, 0.0), max(self.busy - other.busy, 0.0))


NO_DEMAND = Demand()


def demand(curve: LatencyCurve, rate: float, budget: float) -> Demand:
    """Of a lane to which `rate` claims a second come. It needs no more batches than it gets claims."""
    return Demand(curve.fixed * min(rate * budget, 1.0), curve.each * rate)


class Situation(NamedTuple):
    """What decides beside the lane. Times in seconds.

    `budget` from when a claim comes to the end of its forward; `delivery` from there to acknowledgement. `curve` and
    `delivery` are what is to be expected: a claim is given up when it will be late, not when it might be. What is spent
    for others allows for batches that take `margin` longer, as a share, and for `reserve` more seconds of delivery.
    `cap`: how long the batch may take for the sake of other lanes, which one claim may exceed; `others`: what these
    take of the device; `now_or_late`: if this lane waits, one that is behind goes first, and its claims become late.
    `spare`: late claims are
    set aside; otherwise all are served by deadline. `give_up`: so are those that are predicted to be late; otherwise
    only those that are late already and do not fit. `crowded`: so much is set aside that it has to go first.
    """

    curve: LatencyCurve
    sizes: Sizes
    budget: float
    delivery: float
    margin: float = 0.0
    reserve: float = 0.0
    cap: float = math.inf
    others: Demand = NO_DEMAND
    now_or_late: bool = False
    spare: bool = True
    give_up: bool = True
    crowded: bool = False
    draining: bool = False

    def surely(self, seconds: float) -> float:
        """How long a batch may be expected to take that is to be over in so many seconds."""
        return (seconds - self.reserve) / (1.0 + self.margin)


def decide(lane: LaneView, at: Situation, now: float) -> Close | Wait:
    """Decide for a lane in which something waits and whose device is idle."""
    most = (
        max(min(at.sizes.most, at.curve.fitting(at.surely(at.cap))), 1)
        if at.cap < math.inf
        else at.sizes.most
    )
    start = now + at.delivery
    hopeless = lane.due_before(start + at.curve.seconds(1))
    if at.draining:
        return Close(_oldest_first(lane, most), CloseReason.DRAIN)
    in_turn = not (at.spare and at.give_up)
    if at.crowded or hopeless == lane.waiting or (hopeless and not at.spare):
        return Close(_oldest_first(lane, _breather(lane, at, most)), CloseReason.LATE)
    if hopeless and in_turn:
        return Close(_late_last(lane, _breather(lane, at, most), now), CloseReason.LATE)
    count = min(lane.waiting - hopeless, most)
    slack = lane.deadlines.item(hopeless) - start
    if at.curve.seconds(count) > slack:
        if in_turn:
            return _all_in_turn(at, count, slack)
        return Close(_give_up(lane, start, hopeless, most, at), CloseReason.DEADLINE)
    if lane.waiting - hopeless >= min(at.sizes.target, most):
        return Close(Portion(hopeless, count), CloseReason.SIZE)
    return _perhaps_wait(lane, at, Portion(hopeless, count), at.surely(slack), most, now)


def _perhaps_wait(
    lane: LaneView, at: Situation, portion: Portion, slack: float, most: int, now: float
) -> Close | Wait:
    """Everything could be on time, and more claims would fit.

    Waiting for one more holds all who wait for one arrival gap and makes their batch longer by one claim; it saves the
    next claim the fixed cost of a batch of its own. It pays while that is more than they lose. Late claims need no
    waiting: where there is room and time for some, they fill it.
    """
    gap = max(1.0 / lane.rate, lane.silence) if lane.rate > 0.0 else math.inf
    if lane.aside:
        room = min(lane.aside, min(most, at.curve.fitting(slack)) - portion.taken)
        if room > 0:
            return Close(Portion(portion.skip, portion.taken, room), CloseReason.IDLE)
    longest = at.curve.fixed / portion.taken - at.curve.each
    # Once nobody has come for so long, waiting no longer pays.
    until = now + min(gap, longest - lane.silence)
    # A wait that rounds to none would be asked for again at the same moment.
    if gap >= longest or until <= now:
        return Close(portion, CloseReason.IDLE)
    if at.now_or_late or gap >= slack - at.curve.seconds(portion.taken + 1):
        return Close(portion, CloseReason.DEADLINE)
    return Wait(until)


def _all_in_turn(at: Situation, count: int, slack: float) -> Close:
    """The oldest on time, unless so short a batch would not keep up and make the next ones late as well."""
    on_time, enough = at.curve.fitting(slack), min(at.sizes.target, count)
    if on_time >= enough:
        return Close(Portion(0, on_time), CloseReason.DEADLINE)
    return Close(Portion(0, enough), CloseReason.LATE)


def worth_giving_up(
    curve: LatencyCurve, margin: float, rate: float, most: int, budget: float, others: Demand = NO_DEMAND
) -> bool:
    """Whether so much of the device is taken that being late would last, and it is known well enough who will be late.

    Behind by some claims, a device that is busy for a share s of the time makes 1 / (1 - s) times as many late until
    it has caught up. Where that is few, none is worth giving up: short batches and a second look cost more. Where
    batches often take longer than predicted by more than `margin`, those who are kept are late as well. How fast the
    device is goes by the largest batches for which a claim can wait as long as they take.
    """
    largest = min(most, max(curve.fitting(0.5 * budget), 1))
    return margin <= _SURE and rate * curve.seconds(largest) > (_CALM - others.busy) * largest


def _give_up(lane: LaneView, start: float, hopeless: int, most: int, at: Situation) -> Portion:
    """The first claim from which a batch is as large as it takes, or else that of the largest batch on time."""
    rest = lane.deadlines[hopeless:] - start
    room = (rest - at.curve.fixed) / at.curve.each if at.curve.each > 0.0 else np.full(len(rest), np.inf)
    counts = np.minimum(room, np.minimum(np.arange(len(rest), 0, -1), most)).astype(np.int64)
    wanted = at.curve.fitting(worth_waiting_for(at.curve, lane.rate, at.budget, most, at.others))
    enough = counts >= wanted
    skip = int(enough.argmax()) if enough.any() else int(counts.argmax())
    return Portion(hopeless + skip, max(int(counts[skip]), 1))


def worth_waiting_for(
    curve: LatencyCurve, rate: float, budget: float, most: int, others: Demand = NO_DEMAND
) -> float:
    """Seconds of the batch for which older claims are given up: the shortest that keeps up, or is as good as any, or
    the best on time. To keep up, a batch of each lane scores what comes to it while they all have theirs.
    """
    busy = curve.each * rate
    free = 1.0 - busy - others.busy
    keeps_up = curve.fixed + busy * (curve.fixed + others.fixed) / free if free > 0.0 else math.inf
    oldest = max(budget - curve.fixed, 0.0) / (1.0 + busy)
    return min(keeps_up, curve.fixed + busy * oldest, curve.fixed / _FIXED_SHARE, curve.seconds(most))


def _oldest_first(lane: LaneView, most: int) -> Portion:
    aside = min(lane.aside, most)
    return Portion(0, min(lane.waiting, most - aside), aside)


def _late_last(lane: LaneView, most: int, now: float) -> Portion:
    """Where not all fit, whoever is late for certain comes after those who might not be."""
    if lane.waiting + lane.aside <= most:
        return _oldest_first(lane, most)
    late = lane.due_before(now)
    count = min(lane.waiting - late, most)
    return Portion(late, count, min(lane.aside + late, most - count))


def _breather(lane: LaneView, at: Situation, most: int) -> int:
    """Late claims at once, so that one that comes meanwhile can still be on time; all when none could be anyway."""
    if at.crowded or lane.waiting:
        return most
    longest = _BREATH * (at.surely(at.budget) - at.curve.fixed) / (1.0 + at.curve.each * lane.rate)
    if longest <= 0.0:
        return most
    return max(min(most, at.curve.fitting(longest)), 1)
