"""Schedules of faults on the simulated Kafka: what `claimstream bench faults` runs, a few hundred of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.faults import plan, tally
from bench.faults.claims import Kind, pool
from bench.faults.driver import DrivenLoop, Driver
from bench.faults.figures import figures
from bench.faults.plan import Disturbance, draw_plan
from bench.faults.recorded import Regression, as_json, from_json, regressions
from bench.faults.schedule import AT_LEAST_ONCE, EXACTLY_ONCE, Verdict, run, run_plan
from bench.faults.strikes import SeededFaults, Strikes
from bench.faults.tally import Book, counted
from bench.faults.workers import End
from stream import consumer
from stream.clock import ManualClock
from stream.commits import OffsetCommits
from stream.consumer import ClaimConsumer
from stream.embedded.simulated import Effect, Fault, SimulatedKafka, SimulatedProcess, Step
from stream.errors import FatalError
from stream.results import ScoreColumns
from tests.regressions import DEFECTS

# Which of them show a defect changes with the program.
EVERY_ORDER = (0, 24)


@pytest.mark.parametrize("kept", regressions(), ids=lambda kept: kept.name)
def test_schedules_that_failed_once_stay_sound(kept: Regression) -> None:
    for order in kept.orders:
        verdict = run_plan(replace(kept.plan, order=order), kept.mode)
        assert verdict.sound, verdict


@pytest.mark.slow
@pytest.mark.parametrize("kept", regressions(), ids=lambda kept: kept.name)
def test_schedules_that_are_kept_show_what_they_are_kept_for(
    kept: Regression, monkeypatch: pytest.MonkeyPatch
) -> None:
    DEFECTS[kept.name](monkeypatch)
    assert not all(
        run_plan(replace(kept.plan, order=order), kept.mode).sound for order in range(*EVERY_ORDER)
    )


def test_a_plan_is_the_same_after_it_was_written_down() -> None:
    for seed in range(20):
        drawn = draw_plan(seed)
        assert any(each.headers for each in drawn.publications)
        assert from_json(json.loads(json.dumps(as_json(drawn)))) == drawn


def test_plans_that_were_written_before_claims_had_headers_have_none() -> None:
    kept = next(each.plan for each in regressions() if each.name == "refused_commit")
    assert not any(each.headers for each in kept.publications)


@pytest.mark.parametrize("mode", [AT_LEAST_ONCE, EXACTLY_ONCE])
@pytest.mark.parametrize("first", range(2_000, 2_120, 40))
def test_no_schedule_loses_repeats_or_reorders(first: int, mode: str) -> None:
    verdicts = [run(seed, mode) for seed in range(first, first + 40)]
    assert [verdict for verdict in verdicts if not verdict.sound] == []
    assert min(verdict.met for verdict in verdicts) >= 5
    assert max(verdict.beyond for verdict in verdicts) <= 0


def test_a_worker_that_ends_without_a_fault_is_told_though_it_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every claim is answered all the same."""
    revoked = ClaimConsumer._revoked

    def broken(self: ClaimConsumer, client: Any, partitions: Any) -> None:
        revoked(self, client, partitions)
        raise FatalError("at every rebalance")

    monkeypatch.setattr(ClaimConsumer, "_revoked", broken)
    verdict = run(3)
    assert verdict.finding.sound
    assert verdict.settled
    assert not verdict.sound
    assert all("at every rebalance" in error for error in verdict.errors)


def commits_nothing_when_it_hands_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OffsetCommits, "finish", lambda *_: None)


def mixes_up_rows(patch: pytest.MonkeyPatch) -> None:
    scores = ScoreColumns._scores
    patch.setattr(ScoreColumns, "_scores", lambda self, rows: scores(self, rows[::-1]))


def forgets_headers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(consumer, "headers_of", lambda _: {})


@pytest.mark.parametrize(
    ("defect", "shown"),
    [
        (commits_nothing_when_it_hands_over, "duplicated"),
        (mixes_up_rows, "wrong"),
        (forgets_headers, "wrong"),
    ],
)
def test_some_schedule_shows_what_a_stage_would_do_wrong(
    defect: Callable[[pytest.MonkeyPatch], None], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    defect(monkeypatch)
    assert any(getattr(run(seed).finding, shown) for seed in range(60))


def test_a_seed_replays_exactly() -> None:
    assert run(3) == run(3)


def test_a_fault_strikes_whoever_is_there_and_counts_only_then() -> None:
    clock = ManualClock()
    driver, kafka = Driver(random.Random(1), clock), SimulatedKafka(clock)
    places: list[Any] = [SimpleNamespace(process=None, running=False) for _ in range(2)]
    strikes = Strikes(driver, kafka, SeededFaults(random.Random(1)), places)
    strikes.strike(Disturbance(0.0, plan.Kind.KILL, 0, 0.0, 0.5, Step.FETCH, Fault(Effect.REFUSED)))
    driver.run_for(1.0)
    assert (strikes.met, strikes.waiting) == (0, True)
    places[1].process = struck = kafka.process("worker 1")
    driver.run_for(0.1)
    assert (strikes.met, strikes.waiting, struck.alive) == (1, False, False)
    assert strikes.explain(End("worker 1", 0.0, 1.0, FatalError("x")))
    assert not strikes.explain(End("worker 1", 0.0, 1.0, KeyError("x")))
    assert not strikes.explain(End("worker 0", 0.0, 1.0, FatalError("x")))


def test_a_call_that_blocks_goes_on_while_one_that_began_after_it_still_waits() -> None:
    clock = ManualClock()
    driver, kafka = Driver(random.Random(1), clock), SimulatedKafka(clock)
    loops: dict[str, DrivenLoop] = {}
    told: list[str] = []

    def waits(name: str, seconds: float, process: SimulatedProcess, now: float) -> float:
        driver.block(process, seconds)
        told.append(name)
        loops[name].stop()
        return now

    processes = {name: kafka.process(name) for name in ("short", "long", "still", "dead")}
    for name, seconds in (("short", 0.5), ("long", 8.0), ("still", 0.5), ("dead", 0.5)):
        step = partial(waits, name, seconds, processes[name])
        loops[name] = DrivenLoop(driver, processes[name], name, step, print)
        loops[name].start()
    driver.run_for(0.2)
    processes["still"].freeze()
    processes["dead"].kill()
    driver.run_for(1.0)
    assert (told, [name for name in loops if loops[name].busy]) == (["short"], ["long", "still"])
    driver.at(clock.now() + 1.0, processes["still"].thaw)
    driver.run_for(10.0)
    assert told == ["short", "still", "long"]
    assert [name for name in loops if loops[name].is_alive()] == ["short", "long", "still"]


def test_a_driver_that_is_closed_ends_what_waits() -> None:
    clock = ManualClock()
    driver, kafka = Driver(random.Random(1), clock), SimulatedKafka(clock)
    process, told = kafka.process("worker"), list[str]()

    def waits(now: float) -> float:
        try:
            driver.block(process, 60.0)
        finally:
            told.append("over")
        return now

    loop = DrivenLoop(driver, process, "loop", waits, print)
    loop.start()
    driver.run_for(1.0)
    driver.close()
    assert (told, loop.busy, loop.is_alive()) == (["over"], False, False)


def test_figures_name_failing_seeds() -> None:
    sound = run(1)
    failing: Verdict = replace(sound, seed=7, settled=False)
    tallies = [counted("at_least_once", seed, [each], 1.0) for seed, each in ((1, sound), (7, failing))]
    found = {figure.name: figure for figure in figures(tallies, "at_least_once")}
    assert found["lost_at_least_once"].met
    named = found["failing_seeds_at_least_once"]
    assert (named.value, named.note, named.met) == (1, "7", False)
    assert found["schedules_per_s_at_least_once"].value == 1.0


def test_a_run_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, verdict = list[int](), run(1)

    def scripted(seed: int, _: str) -> Verdict:
        if seed == 70:
            raise KeyboardInterrupt
        ran.append(seed)
        return verdict

    monkeypatch.setattr(tally, "run", scripted)
    with pytest.raises(KeyboardInterrupt):
        Book(tmp_path / "book").tallies(AT_LEAST_ONCE, 0, 120, lambda _: None)
    monkeypatch.setattr(tally, "run", lambda seed, _: ran.append(seed) or verdict)
    done = list[float]()
    tallies = Book(tmp_path / "book").tallies(AT_LEAST_ONCE, 0, 120, done.append)
    assert [each.count for each in tallies] == [50, 50, 20]
    assert ran == [*range(70), *range(50, 120)]
    assert sum(done) == 120
    monkeypatch.setattr(tally, "sources", lambda: "another")
    Book(tmp_path / "book").tallies(AT_LEAST_ONCE, 0, 50, done.append)
    assert ran[-50:] == [*range(50)]


def test_a_line_that_was_cut_off_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, verdict, book = list[int](), run(1), tmp_path / "book"
    monkeypatch.setattr(tally, "run", lambda seed, _: ran.append(seed) or verdict)
    Book(book).tallies(AT_LEAST_ONCE, 0, 100, lambda _: None)
    whole = book.read_bytes()
    book.write_bytes(whole[:-40])
    for _ in range(2):
        Book(book).tallies(AT_LEAST_ONCE, 0, 100, lambda _: None)
    assert ran == [*range(100), *range(50, 100)]
    assert book.read_bytes().startswith(whole[:-40] + b"\n{")


def test_what_decides_beside_the_program_is_part_of_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    read = set[str]()
    content = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.add(path.name) or content(path))
    tally.sources.__wrapped__()
    assert {"claim_event.avsc", "catalog.yaml", "stream.yaml", "pipeline.py"} <= read


def test_every_kind_of_claim_is_there() -> None:
    assert all(pool()[kind] for kind in Kind)
