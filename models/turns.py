"""Turns: a few loads work at a time; one that only waits for others takes no turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from models.tiers.protocol import Guard

_LOOK_SECONDS = 0.05


class Turn:
    """One load's: taken when its work begins, and timed from then on."""

    def __init__(self, free: threading.Semaphore, guard: Guard, now: Callable[[], float]) -> None:
        self._free = free
        self._guard = guard
        self._now = now
        self._since: float | None = None

    def take(self) -> None:
        """Wait for it, unless it is taken. Raises what the guard raises."""
        if self._since is None:
            while not self._free.acquire(timeout=_LOOK_SECONDS):
                self._guard.check()
            self._since = self._now()

    @property
    def seconds(self) -> float:
        """Since it was taken."""
        return 0.0 if self._since is None else self._now() - self._since

    def give_back(self) -> None:
        """Let another load work, if it is taken."""
        if self._since is not None:
            self._since = None
            self._free.release()


class Turns:
    """So many at once."""

    def __init__(self, count: int, now: Callable[[], float]) -> None:
        self._free = threading.Semaphore(count)
        self._now = now

    @contextmanager
    def one(self, guard: Guard) -> Iterator[Turn]:
        """A turn that is given back at the end, if it was taken."""
        turn = Turn(self._free, guard, self._now)
        try:
            yield turn
        finally:
            turn.give_back()
