"""One load for any number of waiters, threads and coroutines alike; nobody left waiting ends it."""

from __future__ import annotations

import copy
import threading
import traceback
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Generic, TypeVar

from models.errors import LoadCancelledError, LoadFailedError, LoadTimeoutError

Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)


_CURE = "raise cache.load_timeout_s, or look at the tiers' load times in /ml/cache/status"


class FlightGuard:
    """Stands over one load: the time of the most patient of its waiters, and whether there still is one."""

    def __init__(self, label: str, budget: float, now: Callable[[], float]) -> None:
        self.label = label
        self._now = now
        self._started = now()
        self._deadline = self._started + budget
        self._over = False
        self._lock = threading.Lock()
        self._cancelled = threading.Event()

    def check(self) -> None:
        """Raises LoadCancelledError or LoadTimeoutError."""
        if self._cancelled.is_set():
            raise LoadCancelledError(f"{self.label}: the load was given up; ask again")
        with self._lock:
            self._over = self._over or self.remaining() <= 0
        if self._over:
            given = self._deadline - self._started
            raise LoadTimeoutError(
                f"{self.label}: not loaded within {given:g} s; nothing of it stays: {_CURE}"
            )

    def extend(self, budget: float) -> bool:
        """Somebody waits so many seconds from now on. False when the load has run out of time already."""
        with self._lock:
            if not self._over:
                self._deadline = max(self._deadline, self._now() + budget)
            return not self._over

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
    """One waiter's part in a flight, for `budget` seconds."""

    def __init__(
        self, flight: _Flight[Result], budget: float, now: Callable[[], float], leave: Callable[[], None]
    ) -> None:
        self._flight = flight
        self._budget = budget
        self._now = now
        self._deadline = now() + budget
        self._leave = leave
        self._left = False

    @property
    def future(self) -> Future[Result]:
        """The flight's, for coroutines and for who looks again and again; one that failed when the time is up.

        Whoever uses it calls `leave` after taking the result.
        """
        if self.remaining() > 0 or self._flight.done.done():
            return self._flight.done
        late: Future[Result] = Future()
        late.set_exception(self.late())
        return late

    def wait(self) -> Result:
        """The result, or the load's own error; `leave` after using it. Raises LoadTimeoutError."""
        try:
            error = self._flight.done.exception(self.remaining())
        except FutureTimeoutError:
            raise self.late() from None
        if error is not None:
            raise _own(error)
        return self._flight.done.result()

    def remaining(self) -> float:
        """Seconds that this one still waits."""
        return max(0.0, self._deadline - self._now())

    def late(self) -> LoadTimeoutError:
        """What it means that the time is up."""
        return LoadTimeoutError(
            f"{self._flight.guard.label}: not loaded within {self._budget:g} s; it goes on if others wait for it: "
            f"{_CURE}"
        )

    def leave(self) -> None:
        """Wait no longer; when nobody does, the load is given up. A second time does nothing."""
        if not self._left:
            self._left = True
            self._leave()


class Flights(Generic[Key, Result]):
    """Loads in progress by key, on threads of their own: at most so many, which are made as they are needed.

    A result stays valid until its last waiter has left; then it is given to `dispose`.
    """

    def __init__(self, threads: int, now: Callable[[], float], dispose: Callable[[Result], None]) -> None:
        self._now = now
        self._dispose = dispose
        self._flights: dict[Key, _Flight[Result]] = {}
        self._closed = False
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="loader")

    @property
    def keys(self) -> list[Key]:
        with self._lock:
            return list(self._flights)

    def join(self, key: Key, load: Callable[[FlightGuard], Result], budget: float) -> Ticket[Result]:
        """A part in the flight of `key` for `budget` seconds; the first one starts it.

        Raises LoadCancelledError after `close`, LoadFailedError where no thread can be started.
        """
        with self._lock:
            if self._closed:
                raise LoadCancelledError(f"{key}: not loaded: the cache is closed; open another")
            flight = self._flights.get(key)
            if flight is None or not flight.guard.extend(budget):
                flight = self._start(key, load, budget)
            flight.waiters += 1
        return Ticket(flight, budget, self._now, lambda: self._leave(key, flight))

    def _start(self, key: Key, load: Callable[[FlightGuard], Result], budget: float) -> _Flight[Result]:
        flight: _Flight[Result] = _Flight(FlightGuard(str(key), budget, self._now))
        try:
            # Handed over, not kept: the pool's frame stays as long as the traceback of an error.
            self._pool.submit(self._fly, key, [flight], load)
        except RuntimeError as error:
            # Another thread may come by it later.
            flight.guard.cancel()
            raise LoadFailedError(f"{key}: not loaded: {error}; allow more threads (`ulimit -u`)") from error
        self._flights[key] = flight
        return flight

    def close(self) -> None:
        """Give every load up and wait for its end."""
        with self._lock:
            self._closed = True
            flights = list(self._flights.values())
        for flight in flights:
            flight.guard.cancel()
        self._pool.shutdown(wait=True)

    def _fly(self, key: Key, handed: list[_Flight[Result]], load: Callable[[FlightGuard], Result]) -> None:
        flight = handed.pop()
        try:
            flight.guard.check()
            result = load(flight.guard)
        except BaseException as error:  # noqa: BLE001 - it reaches everyone who waits
            _let_go(error)
            self._land(key, flight)
            flight.done.set_exception(error)
            # The error holds this frame, and the flight the error.
            del flight
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


def _own(error: BaseException) -> BaseException:
    """The same error for one waiter, whose frames the others' has not: what they hold would stay until all are done."""
    own = copy.copy(error).with_traceback(error.__traceback__)
    own.__cause__ = error.__cause__
    return own


def _let_go(error: BaseException) -> None:
    """Forget what the functions held that ended with it: a model that was half built must not stay as long as it."""
    chain, seen = [error], set[int]()
    while chain:
        link = chain.pop()
        if id(link) not in seen:
            seen.add(id(link))
            traceback.clear_frames(link.__traceback__)
            chain.extend(each for each in (link.__cause__, link.__context__) if each is not None)
