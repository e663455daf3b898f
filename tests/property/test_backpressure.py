"""The reading gate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.backpressure import AHEAD, READ, Crowding, Flow, GateLimits, Pressure, Reading, ReadingGate

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
    assert [gate.decide({"claims": fill}, 0.0, now) for fill, now in story] == [
        READ,
        Reading(Flow.HOLD, "claims"),
        READ,
        Reading(Flow.HOLD, "claims"),
        Reading(Flow.HOLD, "claims"),
        Reading(Flow.PAUSE, "claims"),
        Reading(Flow.PAUSE, "claims"),
        READ,
    ]


def test_what_is_ahead_holds_and_lets_a_record_through_now_and_then_but_never_pauses() -> None:
    gate = ReadingGate(LIMITS)
    story = [
        (0.8, 0.0),
        (4.0, 1.0),
        (3.0, 1.25),
        (2.0, 1.4),
        (1.5, 1.42),
        (1.0, 1.73),
        (0.9, 1.75),
        (0.89, 1.8),
    ]
    assert [gate.decide({"claims": 0.1, "memory": 0.2}, ahead, now) for ahead, now in story] == [
        READ,
        Reading(Flow.HOLD, AHEAD),
        Reading(Flow.HOLD, AHEAD),
        Reading(Flow.TRICKLE, AHEAD),
        Reading(Flow.HOLD, AHEAD),
        Reading(Flow.TRICKLE, AHEAD),
        Reading(Flow.HOLD, AHEAD),
        READ,
    ]


def test_a_pause_that_ends_while_much_is_ahead_becomes_a_hold() -> None:
    gate = ReadingGate(LIMITS)
    for now in (0.0, 0.4):
        gate.decide({"claims": 0.2, "memory": 1.0}, 2.0, now)
    assert gate.reading == Reading(Flow.PAUSE, "memory")
    assert gate.decide({"claims": 0.2, "memory": 0.4}, 2.0, 1.0) == Reading(Flow.HOLD, AHEAD)


steps = st.lists(
    st.tuples(
        st.fixed_dictionaries({"claims": st.floats(0, 2), "memory": st.floats(0, 2)}),
        st.floats(0, 2),
        st.floats(0, 1),
    ),
    max_size=80,
)


@given(steps)
def test_never_reads_when_full_and_never_stays_shut_when_empty(
    taken: list[tuple[dict[str, float], float, float]],
) -> None:
    gate, now = ReadingGate(LIMITS), 0.0
    for stores, ahead, pause in taken:
        now += pause
        before = gate.reading.flow
        flow, reason = gate.decide(stores, ahead, now)
        fullest = max(stores.values())
        assert flow is not Flow.READ or max(fullest, ahead) < LIMITS.high
        assert flow is Flow.READ or fullest >= LIMITS.low or ahead >= LIMITS.high
        assert flow not in (Flow.READ, Flow.TRICKLE) or fullest < LIMITS.high
        assert flow is not Flow.PAUSE or before in (Flow.HOLD, Flow.PAUSE)
        assert (reason == "") == (flow is Flow.READ)
        assert reason in ("", AHEAD) or stores[reason] == fullest


@given(steps)
def test_only_a_full_store_pauses(taken: list[tuple[dict[str, float], float, float]]) -> None:
    gate, now = ReadingGate(LIMITS), 0.0
    for stores, ahead, pause in taken:
        now += pause
        roomy = {name: min(fill, 0.89) for name, fill in stores.items()}
        assert gate.decide(roomy, ahead, now).flow is not Flow.PAUSE


@given(steps)
def test_the_client_is_never_left_alone_for_longer_than_patience(
    taken: list[tuple[dict[str, float], float, float]],
) -> None:
    gate, now = ReadingGate(LIMITS), 0.0
    since: float | None = None
    for stores, ahead, pause in taken:
        now += pause
        if gate.decide(stores, ahead, now).flow is not Flow.HOLD:
            since = None
            continue
        since = now if since is None else since
        assert now - since <= LIMITS.patience


@given(steps)
def test_a_pause_comes_when_the_client_was_left_alone_for_its_patience_whatever_held_it(
    taken: list[tuple[dict[str, float], float, float]],
) -> None:
    gate, now = ReadingGate(LIMITS), 0.0
    alone = full = float("inf")
    for stores, ahead, pause in taken:
        now += pause
        before = gate.reading.flow
        flow = gate.decide(stores, ahead, now).flow
        full = min(full, now) if max(stores.values()) >= LIMITS.high else float("inf")
        alone = min(alone, now) if before is Flow.HOLD or flow is Flow.HOLD else float("inf")
        # Never sooner, and never later than that store asks for it.
        assert flow is not Flow.PAUSE or before is Flow.PAUSE or now - alone > LIMITS.patience
        assert flow is Flow.PAUSE or now - full <= LIMITS.patience
        alone = alone if flow is Flow.HOLD else float("inf")


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
