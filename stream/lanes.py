"""Queues of row numbers, one a model version: what waits to be scored, and until when it should be."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream.arrivals import ArrivalRate
from stream.recent import RecentQuantile
from stream.records import Rows

Moments = npt.NDArray[np.float64]

_INITIAL = 256
# A lane to which nobody came for so many seconds does not keep intake reading.
_QUIET = 2.0
# Those that come within so many seconds count as of one age.
_GRAIN = 0.01


class LaneView(NamedTuple):
    """What a policy needs to know of a lane. Times are seconds on the monotonic clock.

    `deadlines` of the claims that wait, ascending, the first of which came at `waiting_since`; `aside` claims were set
    aside as too late, the first of them at `aside_since`. `rate`: claims a second that come. `silence`: seconds since
    the last came. `since`: when the lane was last served, or began to wait. `left`: seconds that a claim still has when
    it comes, typically.
    """

    lane: int
    deadlines: Moments
    rate: float
    silence: float
    since: float
    aside: int = 0
    aside_since: float = math.inf
    left: float = math.inf
    waiting_since: float = math.inf

    @property
    def waiting(self) -> int:
        return len(self.deadlines)

    def due_before(self, moment: float) -> int:
        """How many of those that wait are due before a moment."""
        # Mostly the first is not, which is soon seen.
        if not len(self.deadlines) or self.deadlines.item(0) >= moment:
            return 0
        return int(self.deadlines.searchsorted(moment))

    @property
    def late_since(self) -> float:
        """Since when some of those that wait are due; nobody is sooner than it came. Infinity where nobody waits."""
        return max(self.deadlines.item(0), self.waiting_since) if len(self.deadlines) else math.inf

    @property
    def deadline(self) -> float:
        """The earliest of all; a claim that was set aside was due then at the latest."""
        return min(float(self.deadlines[0]) if len(self.deadlines) else self.aside_since, self.aside_since)


class Portion(NamedTuple):
    """What leaves a lane for a micro-batch: `skip` claims are set aside first, `taken` follow, `aside` join them."""

    skip: int
    taken: int
    aside: int = 0

    @property
    def size(self) -> int:
        return self.taken + self.aside


class RowQueue:
    """Rows by a moment, such as their deadline, the earliest first; equal ones in the order in which they came."""

    def __init__(self) -> None:
        self._rows: Rows = np.empty(_INITIAL, np.int32)
        self._moments: Moments = np.empty(_INITIAL)
        self._head = self._tail = 0

    def __len__(self) -> int:
        return self._tail - self._head

    @property
    def moments(self) -> Moments:
        """A view that later pushes and takes leave as it is."""
        return self._moments[self._head : self._tail]

    def push(self, rows: Rows, moments: Moments) -> None:
        if len(rows) == 0:
            return
        if np.any(moments[1:] < moments[:-1]):
            order = np.argsort(moments, kind="stable")
            rows, moments = rows[order], moments[order]
        overtakes = len(self) > 0 and moments[0] < self._moments[self._tail - 1]
        if overtakes or self._tail + len(rows) > len(self._rows):
            self._move(len(rows))
        start, self._tail = self._tail, self._tail + len(rows)
        self._rows[start : self._tail] = rows
        self._moments[start : self._tail] = moments
        if overtakes:
            order = np.argsort(self.moments, kind="stable")
            self._rows[: self._tail] = self._rows[: self._tail][order]
            self._moments[: self._tail] = self._moments[: self._tail][order]

    def take(self, count: int) -> tuple[Rows, Moments]:
        """The first `count` rows, or all when fewer wait."""
        end = min(self._head + count, self._tail)
        taken = self._rows[self._head : end], self._moments[self._head : end]
        self._head = end
        return taken

    def _move(self, more: int) -> None:
        """To fresh arrays with room for as many again: whoever holds a view keeps it."""
        waiting = len(self)
        rows, moments = self._rows[self._head : self._tail], self.moments
        room = max(2 * (waiting + more), _INITIAL)
        self._rows, self._moments = np.empty(room, np.int32), np.empty(room)
        self._rows[:waiting], self._moments[:waiting] = rows, moments
        self._head, self._tail = 0, waiting


class Seniority:
    """Since when the first of a queue has waited. By number: whoever leaves counts as the one who came first."""

    def __init__(self) -> None:
        self._came: deque[tuple[float, int]] = deque()

    @property
    def since(self) -> float:
        """Infinity where nobody waits."""
        return self._came[0][0] if self._came else math.inf

    def come(self, count: int, now: float) -> None:
        if count and self._came and now - self._came[-1][0] < _GRAIN:
            moment, before = self._came[-1]
            self._came[-1] = moment, before + count
        elif count:
            self._came.append((now, count))

    def leave(self, count: int) -> None:
        while count and self._came:
            moment, waiting = self._came.popleft()
            if waiting > count:
                self._came.appendleft((moment, waiting - count))
            count = max(count - waiting, 0)


class Lane:
    """Claims of one version: those that wait, and those set aside because they can no longer be on time."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._waiting = RowQueue()
        self._aside = RowQueue()
        self._seniority = Seniority()
        self._rate = ArrivalRate()
        self._left = RecentQuantile(0.5, start=math.inf)
        self._since = 0.0
        self._serving = True
        self._used = False

    def __len__(self) -> int:
        return len(self._waiting) + len(self._aside)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def in_use(self) -> bool:
        """Whether claims came, and go on coming."""
        return self._serving and self._used

    def push(self, rows: Rows, deadlines: Moments, now: float) -> None:
        if not len(self):
            self._since = now
        self._waiting.push(rows, deadlines)
        self._seniority.come(len(rows), now)
        self._rate.note(len(rows), now)
        if len(rows):
            self._left.note(deadlines.item(len(rows) // 2) - now)
        self._used = True

    def take(self, portion: Portion, now: float) -> Rows:
        """The rows of a portion, those that waited first."""
        self._since = now
        if portion.skip:
            late, _ = self._waiting.take(portion.skip)
            self._aside.push(late, np.full(len(late), now))
        rows, _ = self._waiting.take(portion.taken)
        self._seniority.leave(portion.skip + portion.taken)
        if not portion.aside:
            return rows
        return np.concatenate((rows, self._aside.take(portion.aside)[0]))

    def empty(self) -> Rows:
        """All its rows."""
        self._seniority.leave(self.waiting)
        return np.concatenate((self._aside.take(len(self._aside))[0], self._waiting.take(self.waiting)[0]))

    def serve(self, *, serving: bool) -> None:
        """Whether claims come here from now on; one that was on its way may still come."""
        self._serving = serving

    def rate(self, now: float) -> float:
        """Claims a second that come."""
        return self._rate.at(now)

    def is_fed(self, now: float) -> bool:
        """Whether claims wait, or came lately."""
        return self.in_use and (self.waiting > 0 or self._rate.silence(now) < _QUIET)

    def view(self, now: float) -> LaneView:
        aside = len(self._aside)
        return LaneView(
            self._number,
            self._waiting.moments,
            self._rate.at(now),
            self._rate.silence(now),
            self._since,
            aside,
            self._aside.moments.item(0) if aside else math.inf,
            self._left.value,
            self._seniority.since,
        )


class Lanes:
    """All lanes of a worker; intake pushes while scoring takes."""

    def __init__(self, count: int = 0) -> None:
        self._lanes = [Lane(number) for number in range(count)]
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._lanes)

    def add(self) -> None:
        """One more lane, for one more version."""
        with self._lock:
            self._lanes.append(Lane(len(self._lanes)))

    def serve(self, serving: Collection[int]) -> None:
        """From now on claims come to these lanes alone; those that wait in others are still scored."""
        with self._lock:
            for number, lane in enumerate(self._lanes):
                lane.serve(serving=number in serving)

    def push(self, lane: int, rows: Rows, deadlines: Moments, now: float) -> None:
        with self._lock:
            self._lanes[lane].push(rows, deadlines, now)

    def take(self, lane: int, portion: Portion, now: float) -> Rows:
        """The rows of a portion; fewer when somebody else emptied the lane meanwhile."""
        with self._lock:
            return self._lanes[lane].take(portion, now)

    def empty(self, lane: int) -> Rows:
        """All rows of a lane, for who gives them to another."""
        with self._lock:
            return self._lanes[lane].empty()

    def queued(self) -> int:
        """Rows that wait or are set aside in all lanes."""
        with self._lock:
            return sum(map(len, self._lanes))

    def aside(self) -> int:
        """Rows set aside in all lanes."""
        with self._lock:
            return sum(len(lane) - lane.waiting for lane in self._lanes)

    def ahead(self, now: float) -> int:
        """Rows that wait in the shortest lane to which claims come: what every model has to do before it runs dry.

        What was set aside does not count: it must not keep fresh claims from being read.
        """
        with self._lock:
            return min((lane.waiting for lane in self._lanes if lane.is_fed(now)), default=0)

    def is_alone(self, number: int) -> bool:
        """Whether no other lane is in use."""
        return not any(lane.in_use for other, lane in enumerate(self._lanes) if other != number)

    def rates(self, now: float) -> dict[int, float]:
        """Claims a second that come to each lane in use."""
        with self._lock:
            return {number: lane.rate(now) for number, lane in enumerate(self._lanes) if lane.in_use}

    def view(self, lane: int, now: float) -> LaneView:
        """Of a lane, even where nothing waits in it."""
        with self._lock:
            return self._lanes[lane].view(now)

    def views(self, now: float) -> list[LaneView]:
        """The lanes in which something waits."""
        with self._lock:
            return [lane.view(now) for lane in self._lanes if len(lane)]
