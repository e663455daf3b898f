"""Slots, restarts and sums, with processes that are only told about."""

from __future__ import annotations

import os
from concurrent.futures import Future
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import numpy as np
import pytest

from models import CacheStatus
from stream.clock import ManualClock
from stream.metrics import Snapshot, StageMetrics
from stream.reports import CacheAnswer, CacheCommand, Ended, Joining, Ready
from stream.service import CacheDesk
from stream.slot import Slot
from stream.supervisor import Supervisor

PATIENCE = 120.0


class PretendProcess:
    """Stands where a process would; the test holds its end of the pipe."""

    exitcode = 1
    killed = False

    def __init__(self, connection: Connection) -> None:
        self.connection = Connection(os.dup(connection.fileno()))

    def join(self, _: float) -> None: ...

    def kill(self) -> None:
        self.killed = True


class Fleet:
    """Spawns pretended processes and keeps them by slot."""

    def __init__(self) -> None:
        self.spawned: list[tuple[int, PretendProcess]] = []

    def __call__(self, slot: int, connection: Connection) -> Any:
        process = PretendProcess(connection)
        self.spawned.append((slot, process))
        return process


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def scored(count: int) -> Any:
    metrics = StageMetrics()
    metrics.count("claims_consumed_total", count)
    metrics.set("claims_in_flight", 5)
    metrics.observe("batch_size", np.array([8, 9]), "null")
    return metrics.snapshot()


def total(supervisor: Supervisor, name: str) -> float:
    return supervisor.snapshot().numbers.get((name, ()), 0.0)


def test_is_ready_when_every_worker_is(fleet: Fleet) -> None:
    supervisor = Supervisor(fleet, 2, ManualClock(), PATIENCE)
    supervisor.step(0.0)
    for _, process in fleet.spawned:
        assert not supervisor.ready
        process.connection.send(Ready())
        supervisor.step(0.0)
    assert supervisor.ready


def test_sums_workers_and_keeps_the_counters_of_those_gone(fleet: Fleet) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 2, clock, PATIENCE)
    supervisor.step(0.0)
    for count, (_, process) in zip((3, 4), fleet.spawned, strict=True):
        process.connection.send(scored(count))
    supervisor.step(0.0)
    assert (total(supervisor, "claims_consumed_total"), total(supervisor, "claims_in_flight")) == (7, 10)
    fleet.spawned[0][1].connection.close()
    supervisor.step(0.0)
    assert (total(supervisor, "claims_consumed_total"), total(supervisor, "claims_in_flight")) == (7, 5)
    assert supervisor.snapshot().histograms["batch_size", ("null",)].counts.sum() == 4


def test_a_scrape_beside_the_end_of_a_worker_counts_it_once(fleet: Fleet) -> None:
    supervisor = Supervisor(fleet, 1, ManualClock(), PATIENCE)
    seen: list[float] = []

    class Scraped(Snapshot):
        def add(self, other: Snapshot) -> None:
            super().add(other)
            scrape.start()
            scrape.join(0.05)

    scrape = Thread(target=lambda: seen.append(total(supervisor, "claims_consumed_total")))
    supervisor._departed = Scraped()
    supervisor.step(0.0)
    worker = fleet.spawned[0][1].connection
    worker.send(scored(3))
    supervisor.step(0.0)
    worker.close()
    supervisor.step(0.0)
    scrape.join()
    assert seen == [3]


def test_starts_a_crashed_worker_again_with_growing_pauses(fleet: Fleet) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 1, clock, PATIENCE, draw=lambda: 0.0)
    pauses = []
    for crash in range(1, 8):
        supervisor.step(0.0)
        assert len(fleet.spawned) == crash
        fleet.spawned[-1][1].connection.close()
        supervisor.step(0.0)
        waited = 0.0
        while len(fleet.spawned) == crash:
            clock.advance(0.5)
            waited += 0.5
            supervisor.step(0.0)
        pauses.append(waited)
        fleet.spawned[-1][1].connection.send(Ready())
    assert pauses[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0]


def test_waits_though_no_worker_is_there(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[tuple[int, float]] = []
    monkeypatch.setattr(
        "multiprocessing.connection.wait", lambda busy, patience: waits.append((len(busy), patience)) or []
    )
    supervisor = Supervisor(fleet, 0, ManualClock(), PATIENCE)
    supervisor.step(0.1)
    assert waits == [(0, 0.1)]


def test_stop_tells_every_worker_and_starts_none_again(fleet: Fleet) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 1, clock, PATIENCE)
    supervisor.step(0.0)
    worker = fleet.spawned[0][1].connection
    worker.send(Ended(3, "the topic is gone"))
    supervisor.step(0.0)
    worker.close()
    supervisor.stop(1.0)
    assert (supervisor.alive, supervisor.unfinished, supervisor.errors) == (0, 3, ["the topic is gone"])
    clock.advance(60.0)
    supervisor.step(0.0)
    assert len(fleet.spawned) == 1


def join(supervisor: Supervisor, fleet: Fleet) -> None:
    """The latest worker joins the group."""
    for report in (Joining(), Ready()):
        fleet.spawned[-1][1].connection.send(report)
        supervisor.step(0.0)


def crash(supervisor: Supervisor, fleet: Fleet, clock: ManualClock, error: str) -> None:
    """The latest worker starts, gets ready and ends with an error; the pause is over after that."""
    supervisor.step(0.0)
    worker = fleet.spawned[-1][1].connection
    join(supervisor, fleet)
    worker.send(Ended(0, error, 1))
    supervisor.step(0.0)
    worker.close()
    supervisor.step(0.0)
    clock.advance(31.0)


def test_a_crash_loop_is_reported_and_ends_when_a_worker_stays(fleet: Fleet) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 1, clock, PATIENCE)
    for number in (1, 2, 3):
        assert total(supervisor, "workers_crash_looping") == 0
        crash(supervisor, fleet, clock, f"no luck {number}")
    assert total(supervisor, "workers_crash_looping") == 1
    assert total(supervisor, "worker_restarts_total") == 3
    supervisor.step(0.0)
    join(supervisor, fleet)
    assert total(supervisor, "workers_ready") == 0
    assert supervisor.unready == "worker 0 ended 3 times in a row: no luck 3"
    clock.advance(PATIENCE + 60.0)
    assert (supervisor.ready, total(supervisor, "workers_crash_looping")) == (True, 0)
    assert total(supervisor, "workers_ready") == 1


def test_as_many_workers_are_ready_as_are_wanted_exactly_when_the_stage_is(fleet: Fleet) -> None:
    supervisor = Supervisor(fleet, 2, ManualClock(), PATIENCE)

    def seen() -> tuple[bool, float, float]:
        return supervisor.ready, total(supervisor, "workers_ready"), total(supervisor, "workers_wanted")

    supervisor.step(0.0)
    assert seen() == (False, 0, 2)
    for number in (1, 2):
        connection = fleet.spawned[number - 1][1].connection
        connection.send(Joining())
        connection.send(Ready())
        supervisor.step(0.0)
        supervisor.step(0.0)
        assert seen() == (number == 2, number, 2)
    fleet.spawned[0][1].connection.close()
    supervisor.step(0.0)
    assert seen() == (False, 1, 2)
    supervisor.stop(0.0)
    assert seen() == (False, 0, 2)


def test_crashes_that_lie_far_apart_are_no_loop(fleet: Fleet) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 1, clock, PATIENCE)
    for _ in range(6):
        supervisor.step(0.0)
        join(supervisor, fleet)
        clock.advance(PATIENCE + 61.0)
        fleet.spawned[-1][1].connection.close()
        supervisor.step(0.0)
        clock.advance(1.0)
    assert len(fleet.spawned) == 6
    assert total(supervisor, "workers_crash_looping") == 0


def test_a_worker_that_dies_without_a_word_is_not_given_anothers_error(fleet: Fleet) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 2, clock, PATIENCE, draw=lambda: 0.0)
    supervisor.step(0.0)
    fleet.spawned[1][1].connection.send(Ended(0, "of another", 1))
    supervisor.step(0.0)
    for pause in (1.0, 2.0, 4.0):
        [process for slot, process in fleet.spawned if slot == 0][-1].connection.close()
        supervisor.step(0.0)
        clock.advance(pause)
        supervisor.step(0.0)
    assert supervisor.unready == "worker 0 ended 3 times in a row: ended with code 1 without a word"


def test_the_stage_ends_by_the_error_of_the_worker_that_said_so(fleet: Fleet) -> None:
    supervisor = Supervisor(fleet, 2, ManualClock(), PATIENCE)
    supervisor.step(0.0)
    fleet.spawned[0][1].connection.send(Ended(0, "StopError: look", 3))
    supervisor.step(0.0)
    fleet.spawned[1][1].connection.send(Ended(0, "of another", 1))
    supervisor.step(0.0)
    assert supervisor.fatal == "StopError: look"


@pytest.mark.parametrize("loading", [1.0, 90.0])
def test_a_step_that_hangs_each_time_is_a_loop_though_it_is_seen_late(fleet: Fleet, loading: float) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 1, clock, PATIENCE)
    for _ in range(3):
        supervisor.step(0.0)
        clock.advance(loading)
        join(supervisor, fleet)
        clock.advance(PATIENCE + 10.0)
        fleet.spawned[-1][1].connection.send(Ended(1, "a step of scoring has not come back", 1))
        supervisor.step(0.0)
        fleet.spawned[-1][1].connection.close()
        supervisor.step(0.0)
        clock.advance(31.0)
    assert total(supervisor, "workers_crash_looping") == 1
    assert "3 times in a row" in supervisor.unready


def pass_by(supervisor: Supervisor, clock: ManualClock, seconds: float) -> None:
    """So much time, looked at every second."""
    for _ in range(int(seconds)):
        clock.advance(1.0)
        supervisor.step(0.0)


def test_a_member_that_falls_silent_is_ended_and_replaced(fleet: Fleet) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 2, clock, PATIENCE)
    supervisor.step(0.0)
    join(supervisor, fleet)
    (_, loading), (_, member) = fleet.spawned
    for _ in range(2):
        pass_by(supervisor, clock, PATIENCE)
        member.connection.send(scored(1))
    pass_by(supervisor, clock, PATIENCE + 10.0)
    assert not member.killed
    pass_by(supervisor, clock, 2.0)
    assert (member.killed, supervisor.ready) == (True, False)
    assert not loading.killed, "a worker that loads its models says nothing meanwhile"
    assert supervisor.errors == ["nothing was heard of it for 131 s; it is ended by force"]
    member.connection.close()
    pass_by(supervisor, clock, 3.0)
    assert [slot for slot, _ in fleet.spawned] == [0, 1, 1]


def test_a_supervisor_that_stood_still_itself_gives_its_workers_time(fleet: Fleet) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 1, clock, PATIENCE)
    supervisor.step(0.0)
    join(supervisor, fleet)
    clock.advance(10 * PATIENCE)
    pass_by(supervisor, clock, PATIENCE)
    assert (fleet.spawned[0][1].killed, supervisor.ready) == (False, True)


@pytest.mark.parametrize("code", [2, 3])
def test_what_every_worker_would_meet_ends_the_stage(fleet: Fleet, code: int) -> None:
    supervisor = Supervisor(fleet, 2, ManualClock(), PATIENCE)
    supervisor.step(0.0)
    fleet.spawned[1][1].connection.send(Ended(0, "StopError: look", code))
    supervisor.step(0.0)
    assert (supervisor.hopeless, supervisor.exit_code, supervisor.errors) == (True, code, ["StopError: look"])


@pytest.mark.parametrize(("code", "hopeless"), [(2, False), (3, True)])
def test_what_only_a_new_worker_cannot_read_leaves_those_that_serve_alone(
    fleet: Fleet, code: int, hopeless: bool
) -> None:
    supervisor = Supervisor(fleet, 2, ManualClock(), PATIENCE)
    supervisor.step(0.0)
    join(supervisor, fleet)
    successor = fleet.spawned[0][1].connection
    successor.send(Ended(0, "UsageError: no such field", code))
    supervisor.step(0.0)
    successor.close()
    supervisor.step(0.0)
    assert (supervisor.hopeless, supervisor.alive) == (hopeless, 1)


def test_what_a_worker_in_the_group_finds_wrong_with_its_settings_ends_the_stage(fleet: Fleet) -> None:
    supervisor = Supervisor(fleet, 1, ManualClock(), PATIENCE)
    supervisor.step(0.0)
    join(supervisor, fleet)
    fleet.spawned[0][1].connection.send(Ended(0, "UsageError: the budget is too short", 2))
    supervisor.step(0.0)
    assert supervisor.exit_code == 2


def test_what_a_successor_alone_finds_wrong_in_the_group_does_not_end_the_stage(fleet: Fleet) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 1, clock, PATIENCE)
    supervisor.step(0.0)
    join(supervisor, fleet)
    fleet.spawned[0][1].connection.close()
    supervisor.step(0.0)
    clock.advance(60.0)
    supervisor.step(0.0)
    successor = fleet.spawned[-1][1].connection
    successor.send(Joining())
    successor.send(Ended(0, "UsageError: the budget is too short", 2))
    successor.close()
    supervisor.step(0.0)
    supervisor.step(0.0)
    supervisor.step(0.0)
    assert (supervisor.hopeless, supervisor.exit_code) == (False, 0)
    clock.advance(60.0)
    supervisor.step(0.0)
    assert supervisor.alive == 1


def test_a_worker_that_had_to_be_killed_or_ended_without_a_word_is_no_clean_end(fleet: Fleet) -> None:
    hanging = Supervisor(fleet, 1, ManualClock(), PATIENCE)
    hanging.step(0.0)
    hanging.kill()
    assert hanging.exit_code == 1
    silent = Supervisor(fleet, 1, ManualClock(), PATIENCE)
    silent.step(0.0)
    fleet.spawned[-1][1].connection.send(Joining())
    fleet.spawned[-1][1].connection.close()
    silent.stop(1.0)
    assert silent.exit_code == 1
    failing = Supervisor(fleet, 1, ManualClock(), PATIENCE)
    failing.step(0.0)
    fleet.spawned[-1][1].connection.send(Joining())
    failing.step(0.0)
    failing._stopping = True
    fleet.spawned[-1][1].connection.send(Ended(0, "no commit", 1))
    failing.step(0.0)
    assert failing.exit_code == 1
    good = Supervisor(fleet, 1, ManualClock(), PATIENCE)
    good.step(0.0)
    fleet.spawned[-1][1].connection.send(Joining())
    fleet.spawned[-1][1].connection.send(Ended(0))
    fleet.spawned[-1][1].connection.close()
    good.stop(1.0)
    assert good.exit_code == 0


@pytest.mark.parametrize("what", ["spawn", "report"])
def test_what_one_worker_meets_with_the_system_leaves_the_others_alone(fleet: Fleet, what: str) -> None:
    clock = ManualClock()
    refusals = [OSError(11, "Resource temporarily unavailable")] if what == "spawn" else []

    def spawn(slot: int, connection: Connection) -> Any:
        if slot == 1 and refusals:
            raise refusals.pop()
        return fleet(slot, connection)

    supervisor = Supervisor(spawn, 2, clock, PATIENCE, draw=lambda: 0.0)
    supervisor.step(0.0)
    if what == "report":
        broken = fleet.spawned[1][1].connection
        # The length of a report, and half of it.
        os.write(broken.fileno(), b"\x00\x00\x00\x08half")
        broken.close()
        supervisor.step(0.0)
    assert supervisor.alive == 1
    clock.advance(1.0)
    supervisor.step(0.0)
    assert [slot for slot, _ in fleet.spawned] == ([0, 1] if what == "spawn" else [0, 1, 1])
    assert (supervisor.alive, supervisor.exit_code) == (2, 0)


def test_what_a_worker_left_counts_where_nobody_scored_it_since(fleet: Fleet) -> None:
    clock = ManualClock()
    replaced = Supervisor(fleet, 1, clock, PATIENCE, draw=lambda: 0.0)
    replaced.step(0.0)
    fleet.spawned[-1][1].connection.send(Ended(7, "fenced", 1))
    replaced.step(0.0)
    fleet.spawned[-1][1].connection.close()
    replaced.step(0.0)
    clock.advance(1.0)
    replaced.step(0.0)
    worker = fleet.spawned[-1][1].connection
    worker.send(Joining())
    worker.send(Ended(0))
    worker.close()
    replaced.stop(1.0)
    assert (replaced.unfinished, replaced.uncounted, replaced.exit_code) == (0, False, 0)
    alone = Supervisor(fleet, 1, clock, PATIENCE)
    alone.step(0.0)
    fleet.spawned[-1][1].connection.send(Joining())
    fleet.spawned[-1][1].connection.send(Ended(7, "fenced", 1))
    alone.step(0.0)
    fleet.spawned[-1][1].connection.close()
    alone.stop(1.0)
    assert (alone.unfinished, alone.uncounted, alone.exit_code) == (7, False, 1)


@pytest.mark.parametrize(("successor", "code"), [("waits", 1), ("loads", 1), ("joined", 0)])
def test_what_a_failed_worker_left_is_committed_once_its_successor_has_joined(
    fleet: Fleet, successor: str, code: int
) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 1, clock, PATIENCE)
    crash(supervisor, fleet, clock, "no luck")
    if successor != "waits":
        supervisor.step(0.0)
    if successor == "joined":
        worker = fleet.spawned[-1][1].connection
        worker.send(Joining())
        worker.send(Ended(0))
        worker.close()
    supervisor.stop(1.0)
    assert (supervisor.exit_code, supervisor.alive) == (code, 0)


def test_what_a_failed_worker_left_is_a_matter_of_those_who_are_there(fleet: Fleet) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 2, clock, PATIENCE)
    crash(supervisor, fleet, clock, "no luck")
    other = fleet.spawned[0][1].connection
    other.send(Joining())
    supervisor.step(0.0)
    other.send(Ended(0))
    other.close()
    supervisor.stop(1.0)
    assert (supervisor.exit_code, supervisor.alive) == (0, 0)


def test_a_worker_that_still_loads_is_ended_at_once_when_the_stage_stops(fleet: Fleet) -> None:
    clock = ManualClock()
    supervisor = Supervisor(fleet, 2, clock, PATIENCE)
    supervisor.step(0.0)
    joined = fleet.spawned[0][1].connection
    joined.send(Joining())
    joined.send(Ended(0))
    joined.close()
    supervisor.stop(60.0)
    assert (supervisor.alive, supervisor.exit_code, supervisor.unready) == (0, 0, "workers are stopping")


def asked_of(fleet: Fleet, count: int) -> tuple[Supervisor, list[Future[CacheAnswer]], CacheCommand]:
    """A supervisor whose ready workers were told to load a model."""
    supervisor = Supervisor(fleet, count, ManualClock(), PATIENCE)
    supervisor.step(0.0)
    for _, process in fleet.spawned:
        process.connection.send(Ready())
        supervisor.step(0.0)
    asked = supervisor.ask("preload", ["a"])
    commands = [process.connection.recv() for _, process in fleet.spawned]
    assert commands == [commands[0]] * count
    return supervisor, asked, commands[0]


def test_an_order_reaches_every_worker_and_waits_for_all(fleet: Fleet) -> None:
    supervisor, asked, command = asked_of(fleet, 2)
    assert (command.action, command.models) == ("preload", ("a",))
    answer = CacheAnswer(command.number, ("a: loaded",), failed=False)
    fleet.spawned[0][1].connection.send(answer)
    supervisor.step(0.0)
    assert [future.done() for future in asked] == [True, False]
    assert asked[0].result() == answer


def test_a_worker_that_is_not_ready_answers_an_order_with_that(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor, _, _ = asked_of(fleet, 1)
    supervisor.add_worker()
    supervisor.step(0.0)
    told: list[int] = []

    def obey(slot: Slot, command: CacheCommand) -> None:
        told.append(slot.number)
        supervisor._take(slot, CacheAnswer(command.number, ("a: loaded",), failed=False))

    monkeypatch.setattr(supervisor, "_tell", obey)
    lines, good = CacheDesk(supervisor, 10.0).order("preload", ["a"])
    assert (sorted(lines), good, told) == (["a: loaded", "worker 1 is not ready"], False, [0])


def test_a_worker_that_ends_leaves_no_order_open(fleet: Fleet) -> None:
    supervisor, (asked,), _ = asked_of(fleet, 1)
    fleet.spawned[0][1].connection.close()
    supervisor.step(0.0)
    assert asked.result(0.0).failed
    assert asked.result(0.0).lines == ("worker 0 ended meanwhile",)


def test_an_order_that_comes_while_a_worker_is_buried_is_answered(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor, _, _ = asked_of(fleet, 1)
    monkeypatch.setattr(supervisor, "_tell", lambda slot, _: setattr(slot, "connection", None))
    (asked,) = supervisor.ask("evict", ["a"])
    assert asked.result(0.0).failed


def test_the_caches_are_those_of_the_workers_that_live(fleet: Fleet) -> None:
    supervisor, _, _ = asked_of(fleet, 1)
    status = CacheStatus((), 1.0, None, 1.0, (), 0)
    fleet.spawned[0][1].connection.send(status)
    supervisor.step(0.0)
    assert supervisor.caches() == [status]
    fleet.spawned[0][1].connection.close()
    supervisor.step(0.0)
    assert supervisor.caches() == []
