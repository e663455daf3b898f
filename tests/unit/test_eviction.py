"""What the eviction policy decides, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.demand import Demand
from models.eviction import Admission, Held, Incoming, Reason, Rules, admit
from models.priority import ModelPriority

NOW = 1_000.0
LOW, MEDIUM, HIGH, CRITICAL = ModelPriority

OLD = Held("", 100, 1.0, 0.1, MEDIUM, False, False, 0.0, 0.0)
NEW = Incoming("new", 100, 1.0, 0.1, MEDIUM)


def resident(key: str, **changes: object) -> Held:
    """100 bytes, a second to load, a tenth of the requests, long here and long unused."""
    return replace(OLD, key=key, **changes)  # type: ignore[arg-type]


def newcomer(**changes: object) -> Incoming:
    return replace(NEW, **changes)  # type: ignore[arg-type]


def test_what_is_seldom_asked_for_goes_first() -> None:
    held = [resident("often", demand=0.3), resident("seldom", demand=0.05)]
    assert admit(held, NEW, Rules(200), NOW) == Admission(True, ("seldom",), Reason.EVICTS)


def test_what_loads_fast_goes_before_what_loads_slowly() -> None:
    held = [resident("slow", cost=2.0), resident("fast", cost=0.5)]
    assert admit(held, NEW, Rules(200), NOW).evict == ("fast",)


def test_as_little_goes_as_makes_room() -> None:
    held = [resident("small", bytes=40, demand=0.03), resident("large", bytes=100, demand=0.09)]
    # By density small would go first, and then large as well.
    assert admit(held, NEW, Rules(140), NOW).evict == ("large",)


def test_two_residents_are_kept_that_are_dearer_together_though_each_is_worth_less_by_the_byte() -> None:
    held = [resident("a", demand=0.09), resident("b", demand=0.09)]
    assert admit(held, newcomer(bytes=120, demand=0.12), Rules(200), NOW).reason is Reason.DEARER_RESIDENTS


def test_what_nobody_asks_for_stays_where_it_takes_no_room_from_others() -> None:
    held = [
        resident("dense", bytes=150, demand=0.15),
        resident("large", bytes=130, demand=0.117),
        resident("unused", bytes=10, demand=0.0),
    ]
    assert admit(held, newcomer(bytes=160, demand=0.1506), Rules(300), NOW).evict == ("dense",)


def test_equals_go_in_the_order_of_their_names_however_they_are_listed() -> None:
    held = [resident("a"), resident("b")]
    assert admit(held, NEW, Rules(200), NOW).evict == admit(held[::-1], NEW, Rules(200), NOW).evict == ("a",)


def test_a_newcomer_that_would_evict_something_dearer_is_served_without_being_cached() -> None:
    held = [resident("a", demand=0.3), resident("b", demand=0.3)]
    assert admit(held, NEW, Rules(200), NOW) == Admission(False, (), Reason.DEARER_RESIDENTS)


def test_two_small_residents_together_may_be_dearer_than_a_large_newcomer() -> None:
    held = [resident("a", demand=0.08), resident("b", demand=0.08)]
    assert admit(held, newcomer(bytes=200, demand=0.15), Rules(200), NOW).reason is Reason.DEARER_RESIDENTS
    assert admit(held, newcomer(bytes=200, demand=0.17), Rules(200), NOW).evict == ("a", "b")


def test_among_equals_the_one_unused_for_longest_goes() -> None:
    held = [resident("late", used_at=900.0), resident("early", used_at=800.0)]
    assert admit(held, NEW, Rules(200), NOW).evict == ("early",)


def test_without_any_demand_the_newcomer_comes_in() -> None:
    held = [resident("a", demand=0.0, used_at=900.0), resident("b", demand=0.0, used_at=800.0)]
    assert admit(held, newcomer(demand=0.0), Rules(200), NOW).evict == ("b",)


def test_a_known_next_use_weighs_more_than_demand() -> None:
    held = [resident("soon", demand=0.01, next_use=2), resident("often", demand=0.3)]
    assert admit(held, newcomer(next_use=3), Rules(200), NOW, look_ahead=20).evict == ("often",)


def test_what_is_not_among_the_known_requests_comes_after_them() -> None:
    held = [resident("often", demand=0.5)]
    assert admit(held, newcomer(next_use=5), Rules(100), NOW, look_ahead=20).evict == ("often",)
    assert not admit(held, newcomer(next_use=5), Rules(100), NOW, look_ahead=0).admitted


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"leased": True}, Reason.ALL_LEASED),
        ({"pinned": True}, Reason.ALL_LEASED),
        ({"loaded_at": NOW - 4}, Reason.PROTECTED),
        ({"priority": HIGH, "used_at": NOW - 59}, Reason.OUTRANKED),
        ({"priority": HIGH, "next_use": 20}, Reason.OUTRANKED),
        ({"demand": 0.9}, Reason.DEARER_RESIDENTS),
    ],
)
def test_a_refusal_says_what_stood_in_the_way(changes: dict[str, object], reason: Reason) -> None:
    held = [resident("a", **changes)]
    assert admit(held, NEW, Rules(100, protection=5.0), NOW) == Admission(False, (), reason)


def test_a_fresh_load_may_go_when_its_protection_ends() -> None:
    held = [resident("a", loaded_at=NOW - 5, demand=0.01)]
    assert admit(held, NEW, Rules(100, protection=5.0), NOW).evict == ("a",)


def test_a_higher_class_that_nobody_uses_gives_way_to_a_lower_one() -> None:
    held = [resident("a", priority=HIGH, used_at=NOW - 61, demand=0.01)]
    assert admit(held, NEW, Rules(100), NOW).evict == ("a",)


def test_a_lower_class_goes_first() -> None:
    held = [resident("low", priority=LOW, demand=0.2), resident("medium")]
    assert admit(held, NEW, Rules(200), NOW).evict == ("low",)


def test_a_newcomer_larger_than_the_budget_is_refused_at_once() -> None:
    assert admit([], newcomer(bytes=201), Rules(200), NOW) == Admission(False, (), Reason.TOO_LARGE)


@pytest.mark.parametrize("priority", [LOW, MEDIUM])
def test_the_reserve_stays_free_of_ordinary_models(priority: ModelPriority) -> None:
    rules = Rules(300, reserved_for_high=100)
    held = [resident("a", priority=priority), resident("b", priority=priority, demand=0.01)]
    assert admit(held, newcomer(priority=priority), rules, NOW).evict == ("b",)
    assert admit([], newcomer(priority=priority, bytes=201), rules, NOW).reason is Reason.TOO_LARGE


@pytest.mark.parametrize("priority", [HIGH, CRITICAL])
def test_high_priority_may_use_the_reserve(priority: ModelPriority) -> None:
    held = [resident("a"), resident("b")]
    rules = Rules(300, reserved_for_high=100)
    assert admit(held, newcomer(priority=priority), rules, NOW) == Admission(True, (), Reason.FITS)


def test_a_pinned_newcomer_pushes_out_what_is_dearer_but_not_what_is_leased() -> None:
    pinned = newcomer(pinned=True, demand=0.0)
    assert admit([resident("a", demand=0.9)], pinned, Rules(100), NOW).evict == ("a",)
    assert admit([resident("a", leased=True)], pinned, Rules(100), NOW).reason is Reason.ALL_LEASED


def test_bytes_that_are_not_listed_are_never_given_away() -> None:
    assert admit([], NEW, Rules(200), NOW, unlisted=100).reason is Reason.FITS
    assert admit([], NEW, Rules(200), NOW, unlisted=101).reason is Reason.ALL_LEASED
    assert admit([resident("a", demand=0.01)], NEW, Rules(250), NOW, unlisted=100).evict == ("a",)


def test_three_models_in_turn_with_room_for_two_do_not_push_each_other_out() -> None:
    demand, cached, loads = Demand(), dict[str, Held](), list[str]()
    for now in range(300):
        key = "abc"[now % 3]
        demand.note(key, now)
        if key in cached:
            continue
        loads.append(key)
        held = [replace(each, demand=demand.of(each.key, now)) for each in cached.values()]
        admission = admit(held, newcomer(key=key, demand=demand.before(key, now)), Rules(200), now)
        for victim in admission.evict:
            del cached[victim]
        if admission.admitted:
            cached[key] = resident(key, loaded_at=now, used_at=now)
    assert sorted(cached) == ["a", "b"]
    assert loads == ["a", "b", *["c"] * 100]


def test_demand_follows_a_shift_within_a_few_dozen_requests() -> None:
    demand = Demand()
    for now in range(2_000):
        demand.note("old" if now % 4 else "rare", now)
    for now in range(2_000, 2_060):
        demand.note("new", now)
    assert demand.of("new", 2_060) > 0.8 > 0.2 > demand.of("old", 2_060)


def test_demand_does_not_chase_noise_where_popularity_stands_still() -> None:
    demand = Demand()
    for now in range(3_000):
        demand.note("often" if now % 10 else "rare", now)
    assert demand.of("often", 3_000) == pytest.approx(0.9, abs=0.05)
    assert demand.of("rare", 3_000) == pytest.approx(0.1, abs=0.05)


def test_the_key_not_asked_for_longest_is_forgotten() -> None:
    demand = Demand(capacity=2)
    for now, key in enumerate("abac"):
        demand.note(key, now)
    assert demand.of("a", 4.0) > demand.of("b", 4.0) == demand.of("unknown", 4.0)


def test_the_demand_of_a_newcomer_leaves_out_the_request_that_brings_it() -> None:
    demand = Demand()
    demand.note("a", 1.0)
    demand.note("b", 2.0)
    assert demand.of("b", 2.0) > demand.of("a", 2.0) > demand.before("b", 2.0)
    assert demand.before("unknown", 2.0) == demand.of("unknown", 2.0)


@pytest.mark.parametrize(("capacity", "half_lives"), [(0, (10.0,)), (10, ()), (10, (10.0, 0.0))])
def test_demand_refuses_bounds_that_mean_nothing(capacity: int, half_lives: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be above zero"):
        Demand(capacity, half_lives)
