"""When the load of a model that claims wait for begins: pure.

Where a load pushes another model out, one load should serve many claims: the lane gathers while its oldest claim can
still be on time. Where that claim cannot, haste gains nothing, but it must not wait for ever: the lane gathers as long
as the load takes, so that waiting never costs more than twice what loading at once would have (the break-even rule of
ski rental, Karlin et al. 1988).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

# A load may take longer than the last one did.
_MARGIN = 1.25


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
    moment, reason = lane.deadline - lane.compute - _MARGIN * lane.load, LoadReason.DEADLINE
    if moment <= lane.since:
        moment, reason = lane.since + lane.load, LoadReason.BREAK_EVEN
    return reason if now >= moment else moment
