"""Queues of row numbers, one a model: what waits to be scored, and until when it should be."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream.records import Rows

_GAP_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class LaneView:
    """What a policy needs to know of a lane. Times are seconds on the monotonic clock; `since` its oldest arrival."""

    lane: int
    waiting: int
    deadline: float
    arrival_gap: float
    since: float


@dataclass(frozen=True, slots=True)
class _Chunk:
    rows: Rows
    deadline: float
    since: float


class Lane:
    """First in, first out; rows leave in the order in which they came."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._chunks: deque[_Chunk] = deque()
        self._waiting = 0
        self._last_arrival: float | None = None
        self._serving = True
        self._gap = float("inf")

    @property
    def waiting(self) -> int:
        return self._waiting

    @property
    def in_use(self) -> bool:
        """Whether claims came, and go on coming."""
        return self._serving and self._last_arrival is not None

    def push(self, rows: Rows, deadlines: npt.NDArray[np.float64], now: float) -> None:
        self._chunks.append(_Chunk(rows, float(deadlines.min()), now))
        self._waiting += len(rows)
        self._observe(len(rows), now)

    def take(self, count: int) -> Rows:
        """The first `count` rows, or all when fewer wait."""
        taken: list[Rows] = []
        missing = min(count, self._waiting)
        self._waiting -= missing
        while missing:
            chunk = self._chunks.popleft()
            if len(chunk.rows) > missing:
                self._chunks.appendleft(_Chunk(chunk.rows[missing:], chunk.deadline, chunk.since))
            taken.append(chunk.rows[:missing])
            missing -= len(taken[-1])
        return np.concatenate(taken) if taken else np.empty(0, np.int32)

    def serve(self, *, serving: bool) -> None:
        """Whether claims come here from now on; one that was on its way may still come."""
        self._serving = serving

    def view(self, now: float) -> LaneView:
        deadline = min((chunk.deadline for chunk in self._chunks), default=float("inf"))
        silence = now - self._last_arrival if self._last_arrival is not None else float("inf")
        since = self._chunks[0].since if self._chunks else now
        return LaneView(self._number, self._waiting, deadline, max(self._gap, silence), since)

    def _observe(self, count: int, now: float) -> None:
        if self._last_arrival is not None:
            gap = max(now - self._last_arrival, 0.0) / count
            known = self._gap != float("inf")
            self._gap = (1 - _GAP_WEIGHT) * self._gap + _GAP_WEIGHT * gap if known else gap
        self._last_arrival = now


class Lanes:
    """All lanes of a worker; intake pushes while scoring takes."""

    def __init__(self, count: int = 0) -> None:
        self._lanes = [Lane(number) for number in range(count)]
        self._lock = threading.Lock()

    def add(self) -> None:
        """One more lane, for one more version."""
        with self._lock:
            self._lanes.append(Lane(len(self._lanes)))

    def serve(self, serving: Collection[int]) -> None:
        """From now on claims come to these lanes alone; those that wait in others are still scored."""
        with self._lock:
            for number, lane in enumerate(self._lanes):
                lane.serve(serving=number in serving)

    def push(self, lane: int, rows: Rows, deadlines: npt.NDArray[np.float64], now: float) -> None:
        with self._lock:
            self._lanes[lane].push(rows, deadlines, now)

    def take(self, lane: int, count: int) -> Rows:
        with self._lock:
            return self._lanes[lane].take(count)

    def ahead(self) -> int:
        """Rows that wait in the shortest lane in use: what every model has still to do before it runs dry."""
        with self._lock:
            return min((lane.waiting for lane in self._lanes if lane.in_use), default=0)

    def views(self, now: float) -> list[LaneView]:
        """The lanes in which something waits."""
        with self._lock:
            return [lane.view(now) for lane in self._lanes if lane.waiting]
