"""The circuit breaker: whom it lets ask, when, and what it says."""

from __future__ import annotations

import logging

import pytest

from models.breaker import Backoff, Breaker, Circuit, State
from models.errors import AbsentError, ArtifactError, LoadTimeoutError, UnreachableError


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("Redis", Backoff(first=1.0, growth=2.0, longest=5.0), clock)


def fail(breaker: Breaker, reason: str = "it is away") -> None:
    with pytest.raises(UnreachableError, match=reason), breaker.attempt():
        raise UnreachableError(reason)


def test_after_a_failure_nobody_asks_until_the_pause_is_over(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.time += 0.9
    refused = pytest.raises(UnreachableError, match=r"left alone for another 0\.1 s, since: it is away")
    with refused, breaker.attempt():
        pytest.fail("it was let through")
    clock.time += 0.2
    assert breaker.state is State.HALF_OPEN
    with breaker.attempt():
        pass
    assert breaker.state is State.CLOSED


def test_pauses_grow_up_to_the_longest_and_begin_anew_after_an_answer(breaker: Breaker, clock: Clock) -> None:
    for pause in (1.0, 2.0, 4.0, 5.0, 5.0):
        fail(breaker)
        clock.time += pause - 0.01
        assert breaker.state is State.OPEN
        clock.time += 0.01
        assert breaker.state is State.HALF_OPEN
    with breaker.attempt():
        pass
    fail(breaker)
    clock.time += 1.0
    assert breaker.state is State.HALF_OPEN


def test_while_one_tries_the_others_are_refused(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.time += 1.0
    with breaker.attempt(), pytest.raises(UnreachableError, match="left alone"), breaker.attempt():
        pytest.fail("two were let through")


@pytest.mark.parametrize("answer", [AbsentError, ArtifactError])
def test_a_bad_answer_is_an_answer(breaker: Breaker, clock: Clock, answer: type[Exception]) -> None:
    fail(breaker)
    clock.time += 1.0
    with pytest.raises(answer), breaker.attempt():
        raise answer
    assert breaker.state is State.CLOSED


def test_a_trial_that_its_caller_gave_up_is_made_by_the_next(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.time += 1.0
    with pytest.raises(LoadTimeoutError), breaker.attempt():
        raise LoadTimeoutError
    assert breaker.state is State.HALF_OPEN
    with breaker.attempt():
        pass
    assert breaker.state is State.CLOSED


def test_only_failures_in_a_row_open_it() -> None:
    circuit = Circuit(Backoff(failures=2))
    for _ in range(3):
        ticket = circuit.admit(0.0)
        assert ticket
        assert not circuit.failed(ticket, 0.0, "away")
        circuit.succeeded(ticket)
    ticket = circuit.admit(0.0)
    assert ticket
    assert not circuit.failed(ticket, 0.0, "away")
    assert circuit.failed(ticket, 0.0, "away")
    assert circuit.state(0.0) is State.OPEN


def test_what_was_asked_before_it_opened_neither_closes_it_nor_lengthens_the_pause() -> None:
    circuit = Circuit(Backoff())
    first, second, third = (circuit.admit(0.0) for _ in range(3))
    assert first
    assert second
    assert third
    assert circuit.failed(first, 0.0, "away")
    assert not circuit.failed(second, 0.5, "away")
    assert not circuit.succeeded(third)
    assert circuit.state(0.9) is State.OPEN
    assert circuit.state(1.0) is State.HALF_OPEN


def test_it_says_once_that_the_service_is_left_alone_and_once_that_it_is_back(
    breaker: Breaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        fail(breaker)
        clock.time += 10.0
    with breaker.attempt():
        pass
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "Redis is left alone for 1 s, then tried at growing intervals up to 5 s: it is away",
        "Redis answers again and is used from now on",
    ]
