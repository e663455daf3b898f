"""Which lane goes first, and how long the others leave it: pure.

A lane whose claims can all be on time says when it has to begin for that. Such lanes go in this order, and no batch of
another goes on for longer. A lane that is behind loses claims whatever is done: some claim of it is always almost due,
so that in the same order it would come before everybody, and nobody would have time for more than one claim. Lanes that
are behind therefore take turns, as soon as the others leave them the time of a batch that is worth it, and one that was
passed over for too long goes at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Urgency(NamedTuple):
    """A lane in which something waits. Moments and times in seconds.

    `start`: when a batch of all its claims that can be on time has to begin; infinity where none can. `behind`: it
    loses claims, or holds some that have to go. `worth`: how long a batch takes that is large enough to keep up.
    `since`: when it was last served, or began to wait. `head_start`: by how much it goes before others.
    """

    start: float
    behind: bool
    worth: float
    since: float
    head_start: float = 0.0


class Turn(NamedTuple):
    """The lane at `place` of what was asked about, and the seconds that its batch may take for the sake of others.

    `now_or_late`: if it waits for more claims, a lane that is behind goes before it and on beyond its start.
    """

    place: int
    cap: float
    now_or_late: bool = False


def turns(lanes: Sequence[Urgency], now: float, patience: float) -> list[Turn]:
    """All lanes, whoever goes first first. One that is behind is passed over for `patience` seconds at most."""
    longest = max((lane.worth for lane in lanes if lane.behind), default=0.0)

    def key(place: int) -> tuple[float, float]:
        lane = lanes[place]
        due = min(now + longest, lane.since + patience) if lane.behind else lane.start
        return due - lane.head_start, lane.since

    places = sorted(range(len(lanes)), key=key)
    return [Turn(place, _cap(lanes, place, now), lanes[place].start < now + longest) for place in places]


def _cap(lanes: Sequence[Urgency], place: int, now: float) -> float:
    """Until the first lane has to begin that is not behind and whose head start is no smaller."""
    mine = lanes[place]
    starts = [
        other.start
        for at, other in enumerate(lanes)
        if at != place and not other.behind and other.head_start >= mine.head_start
    ]
    cap = min(starts, default=math.inf) - now
    return max(cap, mine.worth) if mine.behind else cap
