"""When the load of a model that claims wait for begins: pure.

Where a load pushes another model out, one load should serve many claims: the lane gathers while deadlines allow, and
then as long as the load itself takes, so that waiting never costs more than twice what loading at once would have
(the break-even rule of ski rental, Karlin et al. 1988).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class LoadReason(Enum):
    """Why a load begins."""

    ROOM = "room"
    DEADLINE = "deadline"
    BREAK_EVEN = "break-even"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class AbsentLane:
    """A lane whose model is not on the device. Times are seconds on the monotonic clock; `load` seconds to load it.

    `room`: it fits without anything going. `compute`: predicted seconds from its first forward to acknowledgement.
    """

    lane: int
    since: float
    deadline: float
    load: float
    compute: float
    room: bool


def due(lane: AbsentLane, now: float, *, draining: bool = False) -> LoadReason | float:
    """Why to begin now, or the moment at which to ask again."""
    if lane.room:
        return LoadReason.ROOM
    if draining:
        return LoadReason.DRAIN
    latest = lane.deadline - lane.compute - lane.load
    break_even = lane.since + lane.load
    # A claim that cannot be on time any more gains nothing from haste; it still must not wait for ever.
    if latest <= now < lane.deadline - lane.compute and latest > lane.since:
        return LoadReason.DEADLINE
    if now >= break_even:
        return LoadReason.BREAK_EVEN
    return min(latest, break_even) if latest > now else break_even
