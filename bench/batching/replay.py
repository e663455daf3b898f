"""Arrivals through one server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stream.batch_policy import Wait
from stream.cost_model import LatencyCurve
from stream.publishing.arrivals import Floats

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Serve:
    """Serve `count` claims now, oldest first, after the `skip` oldest, which stay where they are."""

    count: int
    skip: int = 0


class Policy(Protocol):
    """What forms batches, as the replay sees it."""

    def decide(self, waiting: Floats, now: float) -> Serve | Wait:
        """The server is idle; `waiting` are the arrival times of what waits, oldest first, never none.

        Asked again at `until`, or when more claims have come.
        """

    def observe(self, count: int, seconds: float) -> None:
        """A batch of `count` claims took `seconds`."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """When each claim arrived and was finished, shape (n,) each in seconds, and the sizes of the batches in order."""

    times: Floats
    finishes: Floats
    sizes: Places

    @property
    def latencies(self) -> Floats:
        """Seconds from arrival to finish, shape (n,)."""
        return self.finishes - self.times

    def on_time(self, budget: float) -> float:
        """The share of the claims that were finished within `budget` seconds."""
        return float(np.mean(self.finishes <= self.times + budget)) if len(self.times) else 1.0


def replay(times: Floats, policy: Policy, curve: LatencyCurve) -> Served:
    """Serve claims that arrive at `times`, ascending. What a policy would leave for ever is its last batch.

    Raises ValueError for a decision that serves nothing, or that waits for a moment that is past.
    """
    queue = _Queue(times)
    finishes, sizes = np.empty(len(times)), []
    now = 0.0
    while queue.more():
        now = queue.admit(now)
        decision = _decided(policy, queue, now)
        if isinstance(decision, Wait):
            now = decision.until
            continue
        batch = queue.take(decision)
        seconds = curve.seconds(len(batch))
        now += seconds
        finishes[batch] = now
        sizes.append(len(batch))
        policy.observe(len(batch), seconds)
    return Served(times, finishes, np.array(sizes, dtype=np.int64))


def _decided(policy: Policy, queue: _Queue, now: float) -> Serve | Wait:
    """A wait ends at the next arrival; one without end, when none comes any more, serves all."""
    decision = policy.decide(queue.waiting(), now)
    if isinstance(decision, Serve):
        return decision
    until = min(decision.until, queue.next_arrival())
    if until == np.inf:
        return Serve(len(queue.waiting()))
    if until <= now:
        raise ValueError(f"the policy waits at {now} s until {until} s, which is past")
    return Wait(until)


class _Queue:
    """Places of the claims that wait, oldest first."""

    def __init__(self, times: Floats) -> None:
        self._times = times
        self._places: Places = np.zeros(0, dtype=np.int64)
        self._arrived = 0

    def more(self) -> bool:
        """Whether something waits or is to come."""
        return len(self._places) > 0 or self._arrived < len(self._times)

    def admit(self, now: float) -> float:
        """What has arrived at `now`, or at the next arrival when nothing waits; gives that moment."""
        if not len(self._places):
            now = max(now, self.next_arrival())
        arrived = int(np.searchsorted(self._times, now, side="right"))
        self._places = np.concatenate([self._places, np.arange(self._arrived, arrived)])
        self._arrived = arrived
        return now

    def waiting(self) -> Floats:
        return self._times[self._places]

    def next_arrival(self) -> float:
        return float(self._times[self._arrived]) if self._arrived < len(self._times) else np.inf

    def take(self, chosen: Serve) -> Places:
        end = chosen.skip + chosen.count
        taken = self._places[chosen.skip : end]
        if chosen.skip < 0 or not len(taken):
            raise ValueError(f"the policy serves nothing: {chosen} of {len(self._places)} that wait")
        self._places = np.concatenate([self._places[: chosen.skip], self._places[end:]])
        return taken
