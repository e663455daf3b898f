"""The eviction policy and what it knows of demand."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import eviction
from models.demand import Demand
from models.eviction import Admission, Held, Incoming, Reason, Rules, admit
from models.priority import ModelPriority

NOW = 1_000.0

sizes = st.integers(1, 1_200)
costs = st.floats(0, 2)
chances = st.floats(0, 1)
classes = st.sampled_from(ModelPriority)
past = st.floats(0, NOW)
next_uses = st.none() | st.integers(1, 20)
keys = st.sampled_from([f"m{number}" for number in range(8)])

held_lists = st.lists(
    st.builds(
        Held, st.just(""), sizes, costs, chances, classes, st.booleans(), st.booleans(), past, past, next_uses
    ),
    max_size=8,
).map(lambda held: [replace(each, key=f"m{number}") for number, each in enumerate(held)])
incomings = st.builds(Incoming, st.just("new"), sizes, costs, chances, classes, next_uses, st.booleans())
free_to_go = st.lists(
    st.builds(
        Held,
        st.just(""),
        sizes,
        costs,
        chances,
        st.just(ModelPriority.MEDIUM),
        st.just(False),
        st.just(False),
        st.just(0.0),
        st.just(0.0),
        next_uses,
    ),
    min_size=2,
    max_size=6,
).map(lambda held: [replace(each, key=f"m{number}") for number, each in enumerate(held)])
rules_of = st.builds(
    Rules, st.integers(1, 3_000), st.integers(0, 1_000), st.floats(0, 500), st.floats(0, 500)
)
unlisted_bytes = st.integers(0, 300)


def ordinary(version: Held | Incoming) -> bool:
    return version.priority < ModelPriority.HIGH


def kept(held: list[Held], admission: Admission) -> list[Held]:
    return [each for each in held if each.key not in admission.evict]


def fits(residents: list[Held], incoming: Incoming, rules: Rules, unlisted: int) -> bool:
    """Whether the newcomer may stand beside these, written out once more."""
    everything: list[Held | Incoming] = [*residents, incoming]
    if unlisted + sum(each.bytes for each in everything) > rules.budget:
        return False
    if not ordinary(incoming):
        return True
    of_ordinary = sum(each.bytes for each in everything if ordinary(each))
    return unlisted + of_ordinary <= rules.budget - rules.reserved_for_high


def may_go(each: Held, incoming: Incoming, rules: Rules) -> bool:
    in_use = each.next_use is not None or NOW - each.used_at < rules.in_use
    outranks = each.priority > incoming.priority and in_use
    return not (each.leased or each.pinned or outranks or NOW - each.loaded_at < rules.protection)


@given(held_lists, incomings, rules_of, unlisted_bytes)
def test_what_is_admitted_fits_and_leaves_the_reserve_to_high_priority(
    held: list[Held], incoming: Incoming, rules: Rules, unlisted: int
) -> None:
    admission = admit(held, incoming, rules, NOW, unlisted)
    assert admission.admitted == (admission.reason in {Reason.FITS, Reason.EVICTS})
    if admission.admitted:
        assert fits(kept(held, admission), incoming, rules, unlisted)
    else:
        assert admission.evict == ()


@given(held_lists, incomings, rules_of, unlisted_bytes)
def test_what_fits_is_what_nothing_goes_for(
    held: list[Held], incoming: Incoming, rules: Rules, unlisted: int
) -> None:
    reason = admit(held, incoming, rules, NOW, unlisted).reason
    assert eviction.fits(held, incoming, rules, unlisted) == (reason is Reason.FITS)


@given(held_lists, incomings, rules_of, unlisted_bytes)
def test_nothing_goes_that_is_leased_pinned_protected_or_above_the_newcomer_and_in_use(
    held: list[Held], incoming: Incoming, rules: Rules, unlisted: int
) -> None:
    evicted = set(admit(held, incoming, rules, NOW, unlisted).evict)
    assert evicted <= {each.key for each in held if may_go(each, incoming, rules)}


@given(held_lists, incomings, rules_of, unlisted_bytes)
def test_no_victim_could_have_been_kept(
    held: list[Held], incoming: Incoming, rules: Rules, unlisted: int
) -> None:
    admission = admit(held, incoming, rules, NOW, unlisted)
    remaining = kept(held, admission)
    for victim in (each for each in held if each.key in admission.evict):
        assert not fits([*remaining, victim], incoming, rules, unlisted)


@given(held_lists, incomings, rules_of, unlisted_bytes)
def test_nothing_goes_when_there_is_room_and_what_can_never_fit_is_told_so(
    held: list[Held], incoming: Incoming, rules: Rules, unlisted: int
) -> None:
    admission = admit(held, incoming, rules, NOW, unlisted)
    assert (admission == Admission(True, (), Reason.FITS)) == fits(held, incoming, rules, unlisted)
    assert (admission.reason is Reason.TOO_LARGE) == (not fits([], incoming, rules, 0))


@given(held_lists, incomings, rules_of, st.randoms(use_true_random=False))
def test_the_order_of_the_residents_does_not_matter(
    held: list[Held], incoming: Incoming, rules: Rules, random: object
) -> None:
    mixed = list(held)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert admit(mixed, incoming, rules, NOW) == admit(held, incoming, rules, NOW)


def not_outranked(incoming: Incoming) -> bool:
    return incoming.priority > ModelPriority.LOW


def saves(version: Held | Incoming, look_ahead: int) -> float:
    """Seconds a request, written out once more."""
    if version.next_use is not None:
        return 4.0**version.priority * version.cost / version.next_use
    return 4.0**version.priority * version.cost * version.demand / (1 + look_ahead * version.demand)


def best_beside(incoming: Incoming, held: list[Held], rules: Rules, ahead: int) -> float:
    """What the best of all sets with the newcomer saves."""
    return saves(incoming, ahead) + max(
        sum(saves(each, ahead) for each in chosen)
        for count in range(len(held) + 1)
        for chosen in combinations(held, count)
        if fits(list(chosen), incoming, rules, 0)
    )


@given(free_to_go, incomings.filter(not_outranked), st.integers(0, 300), st.integers(0, 20))
def test_no_other_set_of_victims_would_save_more(
    held: list[Held], incoming: Incoming, spare: int, look_ahead: int
) -> None:
    rules = Rules(sum(each.bytes for each in held) + spare)
    admission = admit(held, incoming, rules, NOW, look_ahead=look_ahead)
    if admission.reason in {Reason.EVICTS, Reason.DEARER_RESIDENTS}:
        stay = sum(saves(each, look_ahead) for each in held)
        best = best_beside(incoming, held, rules, look_ahead)
        if admission.admitted:
            left = sum(saves(each, look_ahead) for each in kept(held, admission))
            assert saves(incoming, look_ahead) + left == pytest.approx(best, rel=1e-6)
            assert incoming.pinned or best >= stay * (1 - 1e-6)
        else:
            assert best <= stay * (1 + 1e-6)


@given(st.lists(st.tuples(keys, st.floats(0, 100)), max_size=60), keys)
def test_demand_is_a_chance_and_the_last_request_never_lowers_it(
    requests: list[tuple[str, float]], asked: str
) -> None:
    demand, now = Demand(), 0.0
    for key, pause in requests:
        now += pause
        demand.note(key, now)
    assert 0 < demand.before(asked, now) <= demand.of(asked, now) * (1 + 1e-12)
    assert demand.of(asked, now) <= 1


@given(st.lists(keys, min_size=1, max_size=40), st.floats(1, 1_000))
def test_demand_falls_while_others_are_asked_for(requests: list[str], half_life: float) -> None:
    demand = Demand(half_lives=[half_life])
    for now, key in enumerate(requests):
        demand.note(key, now)
    demand.note("other", len(requests))
    for now in range(len(requests), len(requests) + 20):
        before = demand.of(requests[-1], now)
        demand.note("other", now + 1)
        assert demand.of(requests[-1], now + 1) < before


@given(st.integers(1, 20), st.lists(st.integers(0, 100), min_size=1, max_size=80))
def test_demand_remembers_no_more_than_its_capacity_and_always_the_last(
    capacity: int, requests: list[int]
) -> None:
    demand = Demand(capacity)
    for now, key in enumerate(requests):
        demand.note(str(key), now)
        assert len(demand) <= capacity
        assert demand.of(str(key), now) > demand.of("never asked for", now)
