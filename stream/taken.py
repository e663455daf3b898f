"""Polls that the ledger has noted and that are not admitted yet, such as while a schema registry is away: pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import numpy as np

from stream.records import Polled


class Taken:
    """The oldest poll is admitted first. `not_before`: when that is tried again."""

    def __init__(self) -> None:
        self._polls: deque[Polled] = deque()
        self.not_before = float("-inf")

    def __len__(self) -> int:
        """Polls that wait."""
        return len(self._polls)

    def add(self, polled: Polled) -> None:
        self._polls.append(polled)

    def ready(self, now: float, room: int) -> Polled | None:
        """The poll to be admitted now, if there is one that `room` rows are enough for; it stays until `admitted`."""
        if not self._polls or now < self.not_before or len(self._polls[0]) > room:
            return None
        return self._polls[0]

    def admitted(self) -> None:
        """The oldest poll waits no more."""
        self._polls.popleft()

    def give_up(self, partitions: Collection[int] | None = None) -> list[Polled]:
        """What waits of these partitions, or of all, and from now on does not; the rest keeps its order."""
        polls, self._polls = self._polls, deque()
        if partitions is None:
            return list(polls)
        given: list[Polled] = []
        for polled in polls:
            chosen = np.isin(polled.partitions, list(partitions))
            if chosen.any():
                given.append(polled.only(chosen))
            if not chosen.all():
                self._polls.append(polled.only(~chosen) if chosen.any() else polled)
        return given
