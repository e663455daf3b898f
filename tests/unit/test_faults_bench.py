"""Schedules of faults on the simulated Kafka: what `claimstream bench faults` runs, a few hundred of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import bench.faults
from bench.faults import checker
from bench.faults.checker import Published, check
from bench.faults.claims import Kind, pool
from bench.faults.figures import figures
from bench.faults.schedule import AT_LEAST_ONCE, EXACTLY_ONCE, Verdict, run
from stream.embedded.simulated import Message, Started
from stream.embedded.simulated.message import Record

FAILED_ONCE = [
    int(line.split()[0])
    for line in (Path(bench.faults.__file__).parent / "seeds.txt").read_text().splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_seeds_that_failed_once_stay_sound(seed: int) -> None:
    verdict = run(seed)
    assert verdict.sound, verdict


@pytest.mark.parametrize("mode", [AT_LEAST_ONCE, EXACTLY_ONCE])
@pytest.mark.parametrize("first", range(2_000, 2_120, 40))
def test_no_schedule_loses_repeats_or_reorders(first: int, mode: str) -> None:
    failing = [
        verdict for verdict in (run(seed, mode) for seed in range(first, first + 40)) if not verdict.sound
    ]
    assert failing == []


def test_a_seed_replays_exactly() -> None:
    assert run(3) == run(3)


def result(offset: int) -> Message:
    return Message("scores", 0, Record(0, b"k", b"0:%d" % offset, None, 0))


def dead(offset: int, value: bytes = b"v") -> Message:
    headers = [("claimstream-partition", b"0"), ("claimstream-offset", b"%d" % offset)]
    return Message("dead", 0, Record(0, b"k", value, headers, 0))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are written as plain tuples."""

    def decoded(value: bytes) -> dict[str, object]:
        partition, offset = map(int, value.split(b":"))
        return {
            "input_partition": partition,
            "input_offset": offset,
            "claim_id": "id",
            "scores": [{"model": "null"}],
        }

    monkeypatch.setattr(checker, "_decoded", decoded)
    monkeypatch.setattr(checker, "_claim_id", lambda _: "id")


@pytest.mark.usefixtures("told")
def test_the_checker_sees_what_is_wrong() -> None:
    inputs = [Published(0, offset, b"k", b"v", Kind.SOUND) for offset in range(4)]
    inputs[3] = replace(inputs[3], kind=Kind.POISON)
    results, letters = [result(0), result(1), result(2)], [dead(3)]
    once = [Started("t", 0, 0, "p")]
    twice = [*once, Started("t", 0, 1, "q")]
    assert check(inputs, results, letters, once).sound
    assert check(inputs, results, letters, None).sound
    assert check(inputs, results[:2], letters, once).lost == 1
    assert check(inputs, [*results, result(1)], letters, once).duplicated == 1
    assert check(inputs, [*results, result(1)], letters, twice).sound
    assert check(inputs, [*results, result(1)], letters, None).duplicated == 1
    assert check(inputs, [*results, result(0)], letters, twice).duplicated == 1
    assert check(inputs, [result(1), result(0), result(2)], letters, once).out_of_order == 1
    assert check(inputs, [*results, result(9)], letters, once).wrong == 1
    assert check(inputs, results, [dead(3, b"w")], once).wrong == 1
    assert check(inputs, results, [*letters, dead(0)], twice).wrong == 1


def test_figures_name_failing_seeds() -> None:
    sound = run(1)
    failing: Verdict = replace(sound, seed=7, settled=False)
    found = {figure.name: figure for figure in figures([sound, failing], "at_least_once", 2.0)}
    assert found["lost_at_least_once"].met
    named = found["failing_seeds_at_least_once"]
    assert (named.value, named.note, named.met) == (1, "7", False)
    assert found["schedules_per_s_at_least_once"].value == 1.0


def test_every_kind_of_claim_is_there() -> None:
    assert all(pool()[kind] for kind in Kind)
