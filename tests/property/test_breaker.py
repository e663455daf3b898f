"""Whatever happens in whatever order, the circuit lets one try at a time, and never locks anybody out for good."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.breaker import Backoff, Circuit, State, Ticket

BACKOFF = Backoff(failures=2, first=1.0, growth=3.0, longest=20.0)

STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "answer", "fail", "leave"]), st.integers(0, 5), st.floats(0, 10)),
    max_size=60,
)


@given(STEPS)
def test_one_trial_at_a_time_and_none_before_its_time(steps: list[tuple[str, int, float]]) -> None:
    circuit, now = Circuit(BACKOFF), 0.0
    out: list[tuple[Ticket, bool]] = []
    for action, which, pause in steps:
        now += pause
        if action == "ask":
            before = circuit.state(now)
            ticket = circuit.admit(now)
            assert (ticket is None) == (
                before is State.OPEN or (before is State.HALF_OPEN and any(t for _, t in live(out, circuit)))
            )
            if ticket:
                out.append((ticket, before is State.HALF_OPEN))
        elif out:
            ticket, _ = out.pop(which % len(out))
            report(circuit, action, ticket, now)
        assert sum(trial for _, trial in live(out, circuit)) <= 1
        assert circuit.until <= now + BACKOFF.longest


@given(STEPS)
def test_once_all_have_reported_somebody_may_ask_after_the_longest_pause(
    steps: list[tuple[str, int, float]],
) -> None:
    circuit, now = Circuit(BACKOFF), 0.0
    out: list[Ticket] = []
    for action, which, pause in steps:
        now += pause
        if action == "ask" and (ticket := circuit.admit(now)):
            out.append(ticket)
        elif action != "ask" and out:
            report(circuit, action, out.pop(which % len(out)), now)
    for ticket in out:
        report(circuit, "leave", ticket, now)
    last = circuit.admit(now + BACKOFF.longest)
    assert last
    circuit.succeeded(last)
    assert circuit.state(now + BACKOFF.longest) is State.CLOSED


@given(st.integers(1, 10_000))
def test_pauses_never_shrink_and_stay_within_their_bounds(openings: int) -> None:
    assert BACKOFF.first <= BACKOFF.pause(openings) <= BACKOFF.pause(openings + 1) <= BACKOFF.longest


def report(circuit: Circuit, action: str, ticket: Ticket, now: float) -> None:
    if action == "answer":
        circuit.succeeded(ticket)
    elif action == "fail":
        circuit.failed(ticket, now, "away")
    else:
        circuit.abandoned(ticket)


def live(out: list[tuple[Ticket, bool]], circuit: Circuit) -> list[tuple[Ticket, bool]]:
    """Trials of which nobody knows the outcome yet."""
    return [(ticket, trial) for ticket, trial in out if trial and ticket.phase == circuit._phase]
