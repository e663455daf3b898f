"""When to close a micro-batch, and why: pure."""

from __future__ import annotations

from dataclasses import dataclass

from stream.batch_sizer import LatencyCurve
from stream.lanes import LaneView
from stream.records import CloseReason


@dataclass(frozen=True, slots=True)
class Close:
    """Close now, with at most `count` claims."""

    count: int
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again at `until`, or when more claims have come."""

    until: float


def decide(
    lane: LaneView, curve: LatencyCurve, target: int, delivery: float, now: float, *, draining: bool
) -> Close | Wait:
    """Decide for a lane whose device is idle. `delivery` is the predicted time from score to acknowledgement, seconds.

    Waiting for one more claim holds all who wait for one arrival gap and makes their batch longer by one claim; it
    saves the next claim the fixed cost of a batch of its own. It pays while that is more than they lose.
    """
    if lane.waiting >= target:
        return Close(target, CloseReason.SIZE)
    if draining:
        return Close(lane.waiting, CloseReason.DRAIN)
    if lane.waiting * (lane.arrival_gap + curve.each) >= curve.fixed:
        return Close(lane.waiting, CloseReason.IDLE)
    latest = lane.deadline - delivery - curve.seconds(lane.waiting + 1)
    if now + lane.arrival_gap >= latest:
        return Close(lane.waiting, CloseReason.DEADLINE)
    return Wait(now + lane.arrival_gap)
