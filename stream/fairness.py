"""Which partitions give way, so that the backlog of one does not make the claims of the others late: pure.

The client hands records on in the order in which it fetched them: a claim of a quiet partition comes out behind all
that was prefetched of a busy one. Where some partitions could be scored in time if the rest gave way, the rest is read
in turns, for the room that the others leave.
"""

from __future__ import annotations

from collections.abc import Mapping

_NOBODY: frozenset[int] = frozenset()
# Partitions that give way fill so much of what may be in flight, and are read again when so little of it is taken.
_STOP, _GO = 0.45, 0.15
# The others may take more than that for ever: after so many seconds they have a turn all the same, up to so much.
_LONGEST, _MOST = 1.0, 0.85
# Who gives way goes on doing so until it is behind by half as much.
_BACK = 0.5


class Fairness:
    """Told what is behind from time to time, and how full the stores are before each poll."""

    def __init__(self) -> None:
        self.behind = _NOBODY
        self._stopped = False
        self._since = 0.0
        self._until = _STOP

    def judge(self, lags: Mapping[int, int], claims: float) -> None:
        """`lags`: records of each partition that are still to be read; `claims`: what is scored within half a budget.

        The least behind come first, as many as can be read in that time, and the rest gives way. Where all or none are
        behind, nobody does.
        """
        total = 0
        behind: set[int] = set()
        for partition, lag in sorted(lags.items(), key=lambda item: item[1]):
            total += lag
            if behind or total > (_BACK if partition in self.behind else 1.0) * claims:
                behind.add(partition)
        self.behind = frozenset(behind) if len(behind) < len(lags) else _NOBODY

    def yielding(self, fill: float, now: float) -> frozenset[int]:
        """The partitions that are not to be read now. `fill`: what is in flight, as a share of what may be."""
        if self._stopped:
            if fill < _GO or now - self._since >= _LONGEST:
                self._stopped = False
                self._until = min(max(_STOP, fill + _STOP - _GO), _MOST)
        elif fill >= self._until:
            self._stopped, self._since = True, now
        return self.behind if self._stopped else _NOBODY
