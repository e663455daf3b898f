"""Who read what: each time that a member began to read a partition, and what came of it until it had to let go."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stream.embedded.simulated.message import Message, Place

Commit = tuple[int, str | None]
NOTHING: Commit = (0, None)


@dataclass(slots=True)
class Reading:
    """A member was given the records of a partition in [`begin`, `end`); `end` moves while it reads.

    `told`: offset and metadata of the commit that its application knows of: the last that it asked about, or the one
    at which it began. `left`: of the last commit of its own that the group took.
    `handed_over`: the seconds that its application took at most to give the partition back, from when it was told to or
    was given its last record before it left by itself; None where it did not, or where a fault had struck its process.
    """

    topic: str
    partition: int
    begin: int
    process: str
    end: int
    told: Commit = NOTHING
    left: Commit | None = None
    handed_over: float | None = None


class Readings:
    """Those of one client. `all_of_them`: of every client, in the order in which they began."""

    def __init__(self, all_of_them: list[Reading], process: str) -> None:
        self._all = all_of_them
        self._process = process
        self._current: dict[Place, Reading] = {}
        self._latest: dict[Place, Reading] = {}
        self._told: dict[Place, Commit] = {}
        # When the application asked for what it was given last: whoever leaves takes nothing more first.
        self.given_at = math.inf

    def tell(self, commits: Mapping[Place, Commit]) -> None:
        """The application asked where the group is; it may do so before it begins, or while it waits to."""
        self._told |= commits
        for place, commit in commits.items():
            if (reading := self._current.get(place)) is not None:
                reading.told = commit

    def begin(self, place: Place, offset: int, commit: Commit) -> None:
        """`commit`: where the client began; the application may have asked before somebody else committed more."""
        told = self._told.pop(place, commit)
        self._latest[place] = self._current[place] = Reading(*place, offset, self._process, offset, told)
        self._all.append(self._current[place])

    def give(self, messages: Sequence[Message], asked: float) -> None:
        """The application is given these, for which it asked at this moment."""
        if messages:
            self.given_at = asked
        for message in messages:
            topic, offset = message.topic(), message.offset()
            if topic is not None and offset is not None:
                self._current[topic, message.partition()].end = offset + 1

    def commit(self, offsets: Mapping[Place, Commit]) -> None:
        """The group took a commit; it may have been on its way when the partition went."""
        for place, commit in offsets.items():
            if (reading := self._latest.get(place)) is not None:
                reading.left = commit

    def hand_over(self, places: Iterable[Place], seconds: float) -> None:
        """The application gave these back in order, and took so long at most."""
        for place in places:
            if (reading := self._current.get(place)) is not None:
                reading.handed_over = seconds

    def end(self, places: Iterable[Place]) -> None:
        """These are given away, or lost."""
        for place in places:
            self._current.pop(place, None)
            self._told.pop(place, None)
