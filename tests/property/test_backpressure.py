"""The reading gate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.backpressure import Flow, GateLimits, ReadingGate

LIMITS = GateLimits(high=0.9, low=0.5, patience=0.3)


def test_a_short_block_holds_and_a_long_one_pauses_until_half_empty() -> None:
    gate = ReadingGate(LIMITS)
    story = [
        (0.5, 0.0),
        (0.95, 1.0),
        (0.8, 1.1),
        (0.95, 2.0),
        (0.95, 2.2),
        (0.95, 2.4),
        (0.6, 3.0),
        (0.49, 4.0),
    ]
    assert [gate.decide(fill, now) for fill, now in story] == [
        Flow.READ,
        Flow.HOLD,
        Flow.READ,
        Flow.HOLD,
        Flow.HOLD,
        Flow.PAUSE,
        Flow.PAUSE,
        Flow.READ,
    ]


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1)), max_size=80))
def test_never_reads_when_full_and_never_stays_shut_when_empty(steps: list[tuple[float, float]]) -> None:
    gate, now = ReadingGate(LIMITS), 0.0
    for fill, pause in steps:
        now += pause
        before = gate.flow
        flow = gate.decide(fill, now)
        assert flow is not Flow.READ or fill < LIMITS.high
        assert flow is Flow.READ or fill >= LIMITS.low
        assert not (before is Flow.READ and flow is Flow.PAUSE)
