"""One load for all who wait; who leaves, who ends it, who gets what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from models.errors import LoadCancelledError, LoadTimeoutError
from models.flights import FlightGuard, Flights
from stream.clock import ManualClock


class Load:
    """A load that lasts until it is told to end, and counts what becomes of it."""

    def __init__(self) -> None:
        self.started, self.may_end = threading.Event(), threading.Event()
        self.calls = 0
        self.outcomes: list[str] = []

    def __call__(self, guard: FlightGuard) -> str:
        self.calls += 1
        self.started.set()
        try:
            while not self.may_end.wait(0.001):
                guard.check()
        except LoadCancelledError:
            self.outcomes.append("cancelled")
            raise
        self.outcomes.append("landed")
        return "model"


@pytest.fixture
def disposed() -> list[str]:
    return []


@pytest.fixture
def flights(disposed: list[str]) -> Iterator[Flights[str, str]]:
    made: Flights[str, str] = Flights(2, ManualClock().now, disposed.append)
    yield made
    made.close()


def test_a_hundred_threads_share_one_load(flights: Flights[str, str], disposed: list[str]) -> None:
    load, results = Load(), []

    def ask() -> None:
        ticket = flights.join("a", load, 60.0)
        results.append(ticket.wait(10.0))
        ticket.leave()

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    load.started.wait(5.0)
    assert disposed == []
    load.may_end.set()
    for thread in threads:
        thread.join(10.0)
    assert results == ["model"] * 100
    # Whoever came after the landing flew anew; together they are never more than the results that were disposed of.
    assert load.calls == len(disposed) <= 2


def test_coroutines_and_threads_share_it_too(flights: Flights[str, str]) -> None:
    load = Load()
    first = flights.join("a", load, 60.0)

    async def ask() -> str:
        ticket = flights.join("a", load, 60.0)
        try:
            return await asyncio.shield(asyncio.wrap_future(ticket.future))
        finally:
            ticket.leave()

    async def many() -> list[str]:
        asks = [asyncio.ensure_future(ask()) for _ in range(50)]
        await asyncio.sleep(0)
        load.may_end.set()
        return await asyncio.gather(*asks)

    assert asyncio.run(many()) == ["model"] * 50
    assert first.wait(5.0) == "model"
    first.leave()
    assert load.calls == 1


def test_a_coroutine_that_is_cancelled_does_not_end_the_load_of_others(flights: Flights[str, str]) -> None:
    load = Load()
    other = flights.join("a", load, 60.0)

    async def cancelled() -> None:
        ticket = flights.join("a", load, 60.0)
        waiting = asyncio.ensure_future(asyncio.shield(asyncio.wrap_future(ticket.future)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        ticket.leave()

    asyncio.run(cancelled())
    load.may_end.set()
    assert other.wait(5.0) == "model"
    assert load.outcomes == ["landed"]


def test_when_nobody_waits_any_more_the_load_is_given_up(flights: Flights[str, str]) -> None:
    load = Load()
    tickets = [flights.join("a", load, 60.0) for _ in range(2)]
    load.started.wait(5.0)
    tickets[0].leave()
    assert load.outcomes == []
    tickets[1].leave()
    with pytest.raises(LoadCancelledError, match="ask again"):
        tickets[1].wait(5.0)
    assert load.outcomes == ["cancelled"]


def test_who_asks_after_that_starts_anew(flights: Flights[str, str]) -> None:
    load, again = Load(), Load()
    given_up = flights.join("a", load, 60.0)
    load.started.wait(5.0)
    given_up.leave()
    ticket = flights.join("a", again, 60.0)
    again.may_end.set()
    assert ticket.wait(5.0) == "model"
    ticket.leave()


def test_an_error_reaches_everyone(flights: Flights[str, str], disposed: list[str]) -> None:
    go = threading.Event()

    def broken(_: FlightGuard) -> str:
        go.wait(5.0)
        raise ValueError("no such model")

    tickets = [flights.join("a", broken, 60.0) for _ in range(3)]
    go.set()
    for ticket in tickets:
        with pytest.raises(ValueError, match="no such model"):
            ticket.wait(5.0)
        ticket.leave()
    assert disposed == []
    assert flights.keys == []


def test_a_result_that_nobody_waits_for_is_disposed_of(
    flights: Flights[str, str], disposed: list[str]
) -> None:
    go, started = threading.Event(), threading.Event()

    def deaf(_: FlightGuard) -> str:
        started.set()
        go.wait(5.0)
        return "model"

    ticket = flights.join("a", deaf, 60.0)
    started.wait(5.0)
    ticket.leave()
    go.set()
    assert ticket.future.result(5.0) == "model"
    flights.close()
    assert disposed == ["model"]


def test_the_time_budget_ends_a_load() -> None:
    clock = ManualClock()
    guard = FlightGuard("claims_filter:2.1.0", 3.0, clock.now)
    guard.check()
    clock.advance(3.0)
    with pytest.raises(LoadTimeoutError, match=r"claims_filter:2\.1\.0: not loaded within 3 s"):
        guard.check()


def test_a_waiter_with_less_time_leaves_the_load_to_the_others(flights: Flights[str, str]) -> None:
    load = Load()
    patient, hasty = flights.join("a", load, 60.0), flights.join("a", load, 60.0)
    with pytest.raises(LoadTimeoutError, match="while others wait"):
        hasty.wait(0.01)
    hasty.leave()
    load.may_end.set()
    assert patient.wait(5.0) == "model"
    patient.leave()
