"""One load for all who wait; who leaves, who ends it, who gets what."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from models.errors import LoadCancelledError, LoadFailedError, LoadTimeoutError
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
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def flights(clock: ManualClock, disposed: list[str]) -> Iterator[Flights[str, str]]:
    made: Flights[str, str] = Flights(2, clock.now, disposed.append)
    yield made
    made.close()


def test_a_hundred_threads_share_one_load(flights: Flights[str, str], disposed: list[str]) -> None:
    load, results = Load(), []

    def ask() -> None:
        ticket = flights.join("a", load, 60.0)
        results.append(ticket.wait())
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
    assert first.wait() == "model"
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
    assert other.wait() == "model"
    assert load.outcomes == ["landed"]


def test_when_nobody_waits_any_more_the_load_is_given_up(flights: Flights[str, str]) -> None:
    load = Load()
    tickets = [flights.join("a", load, 60.0) for _ in range(2)]
    load.started.wait(5.0)
    tickets[0].leave()
    assert load.outcomes == []
    tickets[1].leave()
    with pytest.raises(LoadCancelledError, match="ask again"):
        tickets[1].wait()
    assert load.outcomes == ["cancelled"]


def test_who_asks_after_that_starts_anew(flights: Flights[str, str]) -> None:
    load, again = Load(), Load()
    given_up = flights.join("a", load, 60.0)
    load.started.wait(5.0)
    given_up.leave()
    ticket = flights.join("a", again, 60.0)
    again.may_end.set()
    assert ticket.wait() == "model"
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
            ticket.wait()
        ticket.leave()
    assert disposed == []
    assert flights.keys == []


class Weights:
    """What a load holds while it builds."""


def test_what_a_failed_load_held_goes_at_once_and_not_with_pythons_collector(
    flights: Flights[str, str],
) -> None:
    held: list[weakref.ref[Weights]] = []

    def built(weights: Weights) -> str:
        raise RuntimeError("out of memory")

    def broken(_: FlightGuard) -> str:
        weights = Weights()
        held.append(weakref.ref(weights))
        try:
            return built(weights)
        except RuntimeError as error:
            raise LoadFailedError("a: not loaded") from error

    gc.disable()
    try:
        ticket = flights.join("a", broken, 60.0)
        flight = weakref.ref(ticket._flight)
        with pytest.raises(LoadFailedError) as failure:
            ticket.wait()
        # As long as somebody looks at the error, too.
        assert [weights() for weights in held] == [None]
        assert isinstance(failure.value.__cause__, RuntimeError)
        ticket.leave()
        flights.close()
        del ticket, failure
        assert flight() is None
    finally:
        gc.enable()


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
    patient, hasty = flights.join("a", load, 60.0), flights.join("a", load, 0.01)
    with pytest.raises(LoadTimeoutError, match=r"a: not loaded within 0\.01 s; it goes on if others wait"):
        hasty.wait()
    hasty.leave()
    load.may_end.set()
    assert patient.wait() == "model"
    patient.leave()


def test_the_load_lasts_as_long_as_the_most_patient_waits(
    flights: Flights[str, str], clock: ManualClock
) -> None:
    load = Load()
    hasty, patient = flights.join("a", load, 1.0), flights.join("a", load, 60.0)
    load.started.wait(5.0)
    assert not hasty.future.done()
    clock.advance(2.0)
    assert isinstance(hasty.future.exception(0.0), LoadTimeoutError)
    with pytest.raises(LoadTimeoutError, match="a: not loaded within 1 s"):
        hasty.wait()
    hasty.leave()
    load.may_end.set()
    assert patient.wait() == "model"
    patient.leave()
    assert load.outcomes == ["landed"]


def test_what_has_landed_in_time_is_given_to_who_looks_late(
    flights: Flights[str, str], clock: ManualClock
) -> None:
    load = Load()
    load.may_end.set()
    ticket = flights.join("a", load, 1.0)
    assert ticket.future.result(5.0) == "model"
    clock.advance(2.0)
    assert (ticket.future.result(0.0), ticket.wait()) == ("model", "model")
    ticket.leave()


def test_who_comes_to_a_load_whose_time_is_up_starts_anew(
    flights: Flights[str, str], clock: ManualClock
) -> None:
    late, may_end, again = threading.Event(), threading.Event(), Load()

    def slow(guard: FlightGuard) -> str:
        clock.advance(2.0)
        try:
            guard.check()
        finally:
            late.set()
            may_end.wait(5.0)
        return "too late"

    first = flights.join("a", slow, 1.0)
    late.wait(5.0)
    second = flights.join("a", again, 60.0)
    again.may_end.set()
    assert second.wait() == "model"
    may_end.set()
    with pytest.raises(LoadTimeoutError, match="not loaded within 1 s; nothing of it stays"):
        first._flight.done.result(5.0)
    first.leave()
    second.leave()


def test_after_the_end_nothing_is_loaded(flights: Flights[str, str]) -> None:
    flights.close()
    for _ in range(2):
        with pytest.raises(LoadCancelledError, match="a: not loaded: the cache is closed; open another"):
            flights.join("a", Load(), 60.0)


def test_a_thread_that_cannot_be_started_is_said_and_blocks_nothing(
    flights: Flights[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Load()
    load.may_end.set()

    def none(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        with pytest.raises(
            LoadFailedError, match="a: not loaded: can't start new thread; allow more threads"
        ):
            flights.join("a", load, 60.0)
    ticket = flights.join("a", load, 60.0)
    assert ticket.wait() == "model"
    ticket.leave()
    assert load.calls == 1
