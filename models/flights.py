"""One load for any number of waiters, threads and coroutines alike; nobody left waiting ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Generic, TypeVar

from models.errors import LoadCancelledError, LoadTimeoutError

Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)


class FlightGuard:
    """Stands over one load: its time budget, and whether anybody still waits."""

    def __init__(self, label: str, budget: float, now: Callable[[], float]) -> None:
        self._label = label
        self._budget = budget
        self._now = now
        self._deadline = now() + budget
        self._cancelled = threading.Event()

    def check(self) -> None:
        """Raises LoadCancelledError or LoadTimeoutError."""
        if self._cancelled.is_set():
            raise LoadCancelledError(f"{self._label}: the load was given up; ask again")
        if self.remaining() <= 0:
            raise LoadTimeoutError(
                f"{self._label}: not loaded within {self._budget:g} s; nothing of it stays: "
                "raise cache.load_timeout_s, or look at the tiers' load times in /ml/cache/status"
            )

    def remaining(self) -> float:
        return self._deadline - self._now()

    def cancel(self) -> None:
        self._cancelled.set()


class _Flight(Generic[Result]):
    """`done` is never cancelled: a waiter's end must not be that of the others."""

    def __init__(self, guard: FlightGuard) -> None:
        self.guard = guard
        self.waiters = 0
        self.done: Future[Result] = Future()
        self.done.set_running_or_notify_cancel()


class Ticket(Generic[Result]):
    """One waiter's part in a flight."""

    def __init__(self, flight: _Flight[Result], leave: Callable[[], None]) -> None:
        self._flight = flight
        self._leave = leave
        self._left = False

    @property
    def future(self) -> Future[Result]:
        """For coroutines; whoever uses it calls `leave` after taking the result."""
        return self._flight.done

    def wait(self, timeout: float | None = None) -> Result:
        """The result, or the load's own error; `leave` after using it. Raises LoadTimeoutError."""
        try:
            return self._flight.done.result(timeout)
        except FutureTimeoutError:
            raise LoadTimeoutError(
                f"not loaded within the {timeout:g} s that were given; the load goes on while others wait"
            ) from None

    def leave(self) -> None:
        """Wait no longer; when nobody does, the load is given up. A second time does nothing."""
        if not self._left:
            self._left = True
            self._leave()


class Flights(Generic[Key, Result]):
    """Loads in progress by key, on a few threads of their own.

    A result stays valid until its last waiter has left; then it is given to `dispose`.
    """

    def __init__(self, threads: int, now: Callable[[], float], dispose: Callable[[Result], None]) -> None:
        self._now = now
        self._dispose = dispose
        self._flights: dict[Key, _Flight[Result]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="loader")

    @property
    def keys(self) -> list[Key]:
        with self._lock:
            return list(self._flights)

    def join(self, key: Key, load: Callable[[FlightGuard], Result], budget: float) -> Ticket[Result]:
        """A part in the flight of `key`; the first one starts it, with `budget` seconds."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = _Flight(FlightGuard(str(key), budget, self._now))
                self._pool.submit(self._fly, key, flight, load)
            flight.waiters += 1
        return Ticket(flight, lambda: self._leave(key, flight))

    def close(self) -> None:
        """Give every load up and wait for its end."""
        with self._lock:
            flights = list(self._flights.values())
        for flight in flights:
            flight.guard.cancel()
        self._pool.shutdown(wait=True)

    def _fly(self, key: Key, flight: _Flight[Result], load: Callable[[FlightGuard], Result]) -> None:
        try:
            flight.guard.check()
            result = load(flight.guard)
        except BaseException as error:  # noqa: BLE001 - it reaches everyone who waits
            self._land(key, flight)
            flight.done.set_exception(error)
            return
        if self._land(key, flight, result):
            self._dispose(result)

    def _land(self, key: Key, flight: _Flight[Result], result: Result | None = None) -> bool:
        """From now on nobody joins. Whether nobody waits for the result."""
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
            if result is not None:
                flight.done.set_result(result)
            return flight.waiters == 0

    def _leave(self, key: Key, flight: _Flight[Result]) -> None:
        with self._lock:
            flight.waiters -= 1
            if flight.waiters:
                return
            # Whoever asks from now on starts anew instead of sharing the end of this one.
            if self._flights.get(key) is flight:
                del self._flights[key]
            landed = flight.done.done()
        if not landed:
            flight.guard.cancel()
        elif flight.done.exception() is None:
            self._dispose(flight.done.result())
