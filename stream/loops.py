"""Threads that call steps. A step says when it wants to be called next; a signal calls it sooner."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from stream.clock import Clock

Step = Callable[[float], float]


class Loop(Protocol):
    """Whatever calls a step: a thread, or a driver that calls the steps of many workers in an order of its own."""

    name: str

    def stuck(self, now: float) -> float:
        """Seconds that the step under way has taken so far, 0 between steps."""

    def start(self) -> None: ...

    def wake(self) -> None:
        """Call the step again without waiting."""

    def stop(self) -> None:
        """End after the current step."""

    def join(self) -> None:
        """Return when it has ended."""

    def is_alive(self) -> bool: ...


MakeLoop = Callable[[str, Step, Clock, Callable[[BaseException], None]], Loop]

_LONGEST_WAIT = 0.5


class StepLoop(threading.Thread):
    """Calls `step(now)` until stopped; an error ends the loop and is handed to `failed`."""

    def __init__(self, name: str, step: Step, clock: Clock, failed: Callable[[BaseException], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._step = step
        self._clock = clock
        self._failed = failed
        self._wake = threading.Event()
        self._stopping = False
        self._since: float | None = None

    def stuck(self, now: float) -> float:
        """Seconds that the step under way has taken so far, 0 between steps."""
        since = self._since
        return 0.0 if since is None else now - since

    def run(self) -> None:
        try:
            while not self._stopping:
                self._since = self._clock.now()
                due = self._step(self._since)
                self._since = None
                if (wait := min(due - self._clock.now(), _LONGEST_WAIT)) > 0.0:
                    self._wake.wait(wait)
                self._wake.clear()
        except BaseException as error:  # noqa: BLE001 - a loop must never end in silence, whatever the reason
            self._failed(error)

    def wake(self) -> None:
        """Call the step again without waiting."""
        self._wake.set()

    def stop(self) -> None:
        """End after the current step."""
        self._stopping = True
        self._wake.set()
