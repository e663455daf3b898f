"""The rivals, the bound and the traces, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("scipy")

from bench.eviction.figures import Outcome
from bench.eviction.optimum import least_load_seconds
from bench.eviction.plot import ratios_plot
from bench.eviction.replay import Policy, load_seconds
from bench.eviction.rivals import REFUSING, RULES
from bench.eviction.traces import KINDS, Model, Trace, trace

ALL = RULES | REFUSING


def by_hand(requests: str, **models: tuple[int, float]) -> Trace:
    """A trace of one-letter keys; a model is its bytes and the seconds of its reload."""
    known = {key: Model(*models.get(key, (1, 1.0))) for key in sorted(set(requests))}
    return Trace("by hand", known, list(requests))


def loads(requests: Trace, rule: str, budget: int) -> str:
    """The keys that a rule loads."""
    cache = ALL[rule](requests.models, budget)
    return "".join(key for key in requests.requests if not cache.request(key))


@pytest.mark.parametrize(
    ("rule", "requests", "expected"),
    [
        ("LRU", "abcabc", "abcabc"),
        ("LRU", "abacab", "abcb"),
        ("LFU", "aaabcbcbc", "abcbcbc"),
        ("LFU", "aabbcab", "abca"),
        ("GDSF", "aabcb", "abcb"),
        ("S3-FIFO", "aaabcdea", "abcde"),
        ("LFU that refuses", "aabbcccab", "abccab"),
        # What each use of b in the main queue is worth: one more round.
        ("S3-FIFO", "aaabbbcbbbdddeeefb", "abcdef"),
    ],
)
def test_a_rule_loads_what_it_loads_by_hand(rule: str, requests: str, expected: str) -> None:
    assert loads(by_hand(requests), rule, 2) == expected


def test_s3_fifo_keeps_what_returns_soon_after_it_went() -> None:
    assert loads(by_hand("abcdaefga"), "S3-FIFO", 3) == "abcdaefg"


def test_gdsf_keeps_what_costs_more_by_the_byte() -> None:
    requests = by_hand("abcab", a=(1, 5.0), b=(1, 1.0))
    assert loads(requests, "GDSF", 2) == "abcb"


def test_gdsf_ages_what_was_asked_for_often_long_ago() -> None:
    requests = by_hand("aaaa" + "bc" * 6)
    assert len(loads(requests, "GDSF", 2)) < 10
    assert loads(requests, "LFU", 2) == "a" + "bc" * 6


@pytest.mark.parametrize(
    ("requests", "budget", "seconds"),
    [
        ("abcabc", 2, 4.0),
        ("abcabc", 3, 3.0),
        ("abab", 1, 3.0),
        ("aaaa", 1, 1.0),
        ("abc", 1, 3.0),
        ("", 1, 0.0),
    ],
)
def test_the_bound_is_the_one_by_hand(requests: str, budget: int, seconds: float) -> None:
    assert least_load_seconds(by_hand(requests), budget) == pytest.approx(seconds)


def test_the_bound_keeps_a_part_where_a_whole_does_not_fit() -> None:
    requests = by_hand("abab", a=(2, 1.0), b=(2, 3.0))
    # Everything once; then b is there, and half of a beside it.
    assert least_load_seconds(requests, 3) == pytest.approx(1.0 + 3.0 + 0.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", [1_500_000_000, 3_000_000_000])
def test_no_rule_beats_the_bound(kind: str, budget: int) -> None:
    requests = trace(kind, 7, 300)
    bound = least_load_seconds(requests, budget)
    rules = [rule(requests.models, budget) for rule in ALL.values()]
    rules += [Policy(requests, budget), Policy(requests, budget, 20)]
    for rule in rules:
        assert load_seconds(requests, rule) >= bound * (1 - 1e-9)


def test_with_the_requests_known_the_policy_keeps_what_comes_next() -> None:
    requests = by_hand("abcabcabc")
    assert load_seconds(requests, Policy(requests, 2, look_ahead=3)) == least_load_seconds(requests, 2)


def test_the_look_ahead_counts_requests_from_the_next_one_to_the_first_of_each_model() -> None:
    policy = Policy(by_hand("abcbbad"), 4, look_ahead=5)
    policy.request("a")
    assert policy._next_uses() == {"b": 1, "c": 2, "a": 5}


def test_in_the_replay_the_request_of_a_newcomer_does_not_count_for_it() -> None:
    requests = by_hand("abc" * 20)
    assert load_seconds(requests, Policy(requests, 2)) == 22.0


def test_a_trace_is_the_same_for_the_same_seed() -> None:
    assert trace("shift", 1, 600) == trace("shift", 1, 600)
    assert trace("shift", 1, 600) != trace("shift", 2, 600)
    assert all(10e6 <= model.bytes <= 1.2e9 for model in trace("scan", 1, 10).models.values())
    assert {len(trace(kind, 1, 601).requests) for kind in KINDS} == {601}


def test_the_best_of_the_rules_is_what_a_rule_is_held_against(tmp_path: Path) -> None:
    outcomes = [
        Outcome("zipf", 1_500_000_000, seed, {"LRU": 1.5, "LFU": 1.25, "ours": 1.0}) for seed in (1, 2)
    ]
    assert outcomes[0].against("ours", ["LRU", "LFU"]) == 0.8
    ratios_plot(outcomes, tmp_path / "deep" / "eviction.png")
    assert (tmp_path / "deep" / "eviction.png").stat().st_size > 0
