"""How long a load may last that any number of waiters share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import LoadTimeoutError
from models.flights import FlightGuard
from stream.clock import ManualClock

BUDGETS = st.integers(1, 100)
PAUSES = st.integers(0, 30)


@given(BUDGETS, st.lists(st.tuples(PAUSES, BUDGETS), max_size=8))
def test_it_may_last_until_the_last_of_its_waiters_gives_up(
    first: int, others: list[tuple[int, int]]
) -> None:
    clock = ManualClock(now=0.0)
    guard, latest = FlightGuard("a", first, clock.now), first
    for pause, budget in others:
        if clock.now() + pause >= latest:
            break
        clock.advance(pause)
        guard.check()
        assert guard.extend(budget)
        latest = max(latest, int(clock.now()) + budget)
    clock.advance(latest - clock.now() - 0.5)
    guard.check()
    clock.advance(0.5)
    with pytest.raises(LoadTimeoutError, match=f"not loaded within {latest} s"):
        guard.check()
    assert not guard.extend(100)
