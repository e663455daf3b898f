"""Waits grow, are bounded, and are not the same for all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.backoff import Backoff, BackoffRule

RULES = st.builds(BackoffRule, st.floats(0.001, 10), st.floats(10, 100), st.floats(0, 1))


@given(rule=RULES, draws=st.lists(st.floats(0, 1), min_size=1, max_size=80))
def test_each_wait_is_within_its_bounds(rule: BackoffRule, draws: list[float]) -> None:
    rest = iter(draws)
    backoff = Backoff(rule, lambda: next(rest))
    for number in range(len(draws)):
        full = min(rule.first * 2.0**number, rule.longest)
        assert full * (1 - rule.jitter) - 1e-9 <= backoff.failed() <= full
    backoff.succeeded()
    assert Backoff(rule, lambda: 0.0).failed() == min(rule.first, rule.longest)
    assert backoff.failures == 0


def test_a_million_failures_wait_no_longer() -> None:
    backoff = Backoff(draw=lambda: 0.0)
    backoff.failures = 10**6
    assert backoff.failed() == 30.0


def test_two_that_fail_together_do_not_come_back_together() -> None:
    assert len({Backoff().failed() for _ in range(20)}) > 15
