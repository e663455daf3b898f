"""Ends the process when a call into a client does not come back, because nothing else can."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stream.clock import Clock

log = logging.getLogger(__name__)

_LOOK = 0.5


def end_process(reason: str) -> None:
    """At once: an ordinary end would wait for the very call. What is in flight stays uncommitted."""
    log.critical("the process ends: %s", reason)
    logging.shutdown()
    os._exit(1)


class Watchdog:
    """Watches one call at a time. `end` is told why; it does not return in service."""

    def __init__(self, clock: Clock, end: Callable[[str], None]) -> None:
        self._clock = clock
        self._end = end
        self._watched: tuple[str, float] | None = None

    @contextmanager
    def watching(self, call: str, seconds: float) -> Iterator[None]:
        """A call that may take so many seconds."""
        self._watched = (call, self._clock.now() + seconds)
        try:
            yield
        finally:
            self._watched = None

    def step(self, now: float) -> float:
        """Look whether the call is overdue."""
        watched = self._watched
        if watched is not None and now > watched[1]:
            self._end(f"{watched[0]} did not come back {now - watched[1]:.1f} s after its time-out")
        return now + _LOOK
