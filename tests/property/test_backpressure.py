"""The reading gate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.backpressure import Crowding, Flow, GateLimits, Pressure, ReadingGate

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


fills = st.dictionaries(
    st.sampled_from(["output", "delivery", "claims", "memory"]), st.floats(0, 2), min_size=1
)


@given(st.lists(st.tuples(fills, st.floats(0, 1)), min_size=1, max_size=60))
def test_pressure_rises_at_once_and_falls_slowly(steps: list[tuple[dict[str, float], float]]) -> None:
    pressure, now, before = Pressure(recovery=2.0), 0.0, 0.0
    for parts, passed in steps:
        now += passed
        value = pressure.update(parts, now)
        assert 0.0 <= value <= 1.0
        assert value >= min(max(2 * max(parts.values()) - 1, 0.0), 1.0)
        assert value >= before - passed / 2.0 - 1e-9
        before = value
    assert pressure.update({"output": 0.0}, now + 2.0) < 1e-9


@given(fills, st.sampled_from(["output", "delivery"]), st.floats(0, 1))
def test_more_of_anything_never_presses_less(parts: dict[str, float], name: str, more: float) -> None:
    fuller = {**parts, name: parts.get(name, 0.0) + more}
    assert Pressure().update(fuller, 1.0) >= Pressure().update(parts, 1.0)


def test_half_full_presses_nothing_and_a_clock_that_goes_back_changes_nothing() -> None:
    pressure = Pressure(recovery=2.0)
    assert pressure.update({"output": 0.5, "claims": 0.2}, 10.0) == 0.0
    assert pressure.update({"output": 0.75, "claims": 0.2}, 10.0) == 0.5
    assert pressure.parts == {"output": 0.5, "claims": 0.0}
    assert pressure.update({"output": 0.0}, 5.0) == 0.5
    assert pressure.update({"output": 0.0}, 10.5) == 0.25


def test_what_is_set_aside_goes_first_from_half_of_its_bound_until_a_quarter() -> None:
    crowding = Crowding()
    story = [0.0, 0.49, 0.5, 0.4, 0.26, 0.24, 0.3, 0.6]
    assert [crowding.decide(fill) for fill in story] == [False, False, True, True, True, False, False, True]
