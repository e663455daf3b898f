"""A worker process: what it answers, and how it ends."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest

from config import ConfigurationError
from models import UnknownModelError
from stream.clock import ManualClock
from stream.errors import FatalError, StopError, UsageError
from stream.loops import StepLoop
from stream.process import AloneError, Correspondence, _exit_code, _join, start_deaf
from stream.reports import STOP, CacheAnswer, CacheCommand, Joining, Ready
from stream.worker import Worker

FAILING = """
import multiprocessing, threading, time
from config import load_settings
from stream import process

def assemble(*_):
    threading.Thread(target=time.sleep, args=(60,)).start()
    raise RuntimeError("cannot be built")

process.assemble = assemble
_, theirs = multiprocessing.Pipe()
process.run_worker(load_settings(None, {}, {}), None, theirs)
"""


ALONE = """
import multiprocessing
from types import SimpleNamespace
from config import load_settings
from stream import process

ours, theirs = multiprocessing.Pipe()

def start(joining):
    print("start")
    joining()

def assemble(*_):
    ours.close()
    return SimpleNamespace(worker=SimpleNamespace(start=start))

process.assemble = assemble
process.run_worker(load_settings(None, {}, {}), None, theirs)
"""


def raising(error: Exception) -> Any:
    def preload(_: object) -> None:
        raise error

    return preload


@pytest.mark.parametrize(
    "error", [UnknownModelError("no model 'a'"), OSError(24, "Too many open files"), MemoryError("no room")]
)
def test_an_order_is_answered_whatever_becomes_of_it(error: Exception) -> None:
    cache = SimpleNamespace(preload=raising(error))
    ours, theirs = multiprocessing.Pipe()
    correspondence = Correspondence(SimpleNamespace(cache=cache), theirs, ManualClock())  # type: ignore[arg-type]
    correspondence._obey(CacheCommand(7, "preload", ("a", "b")))
    assert correspondence._found.get_nowait() == CacheAnswer(7, (f"a: {error}", f"b: {error}"), failed=True)
    ours.close()


def test_a_repository_that_hangs_does_not_silence_the_worker() -> None:
    clock, come_back, looks = ManualClock(), threading.Event(), []

    def status(repository_age_s: float) -> None:
        assert repository_age_s == 60.0
        looks.append(clock.now())
        come_back.wait(10)
        raise OSError(5, "the mount is gone")

    assembly = SimpleNamespace(
        cache=SimpleNamespace(status=status),
        metrics=SimpleNamespace(snapshot=lambda: "numbers"),
        worker=SimpleNamespace(joined=True, batching=lambda: "batching"),
    )
    ours, theirs = multiprocessing.Pipe()
    correspondence = Correspondence(assembly, theirs, clock)  # type: ignore[arg-type]
    for _ in range(3):
        assert correspondence._report()
        clock.advance(2.0)
    said = [ours.recv() for _ in range(7)]
    assert said == [Ready(), *["batching", "numbers"] * 3]
    assert len(looks) == 1, "looks do not pile up"
    come_back.set()
    correspondence._look.join(10)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no such field"), 2),
        (ConfigurationError("no such key"), 2),
        (StopError("too many dead letters"), 3),
        (FatalError("fenced"), 1),
        (RuntimeError("a defect"), 1),
    ],
)
def test_a_worker_says_whether_it_helps_to_start_again(error: Exception, code: int) -> None:
    assert _exit_code(error) == code


class Slow:
    """Worker parts of which only a loop is real."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.begun, self.go_on = clock, threading.Event(), threading.Event()

    def step(self, _: float) -> float:
        self.begun.set()
        self.go_on.wait(10)
        return float("inf")


def with_loops(clock: ManualClock, **loops: Any) -> Worker:
    """A worker of nothing but its loops."""
    worker = Worker.__new__(Worker)
    worker._clock, worker._loops, worker._error, worker._loader_hangs = clock, loops, None, False
    return worker


def test_a_step_that_hangs_is_found_and_named() -> None:
    slow = Slow(ManualClock())
    loop = StepLoop("scoring", slow.step, slow.clock, lambda _: None)
    loop.start()
    slow.begun.wait(10)
    worker = with_loops(slow.clock, intake=SimpleNamespace(stuck=lambda _: 0.0), scoring=loop)
    worker.check(60.0)
    slow.clock.advance(61.0)
    with pytest.raises(FatalError, match=r"a step of scoring has not come back for 61 s, the limit is 60 s"):
        worker.check(60.0)
    slow.go_on.set()
    loop.stop()
    loop.join(10)
    assert loop.stuck(slow.clock.now()) == 0.0


def test_a_loader_that_hangs_ends_nobody_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    worker = with_loops(ManualClock(), loader=SimpleNamespace(stuck=lambda _: 61.0))
    worker.check(60.0)
    worker.check(60.0)
    assert caplog.messages == ["the loader has not come back for 61 s; what is loaded is served"]


def test_a_worker_that_leaves_waits_for_its_loader_after_all_is_committed() -> None:
    done: list[str] = []
    loops = {
        name: SimpleNamespace(stop=lambda: None, join=partial(done.append, name))
        for name in ("loader", "output")
    }
    worker = with_loops(ManualClock(), **loops)
    worker._pipeline = SimpleNamespace(unfinished=lambda: 0)  # type: ignore[assignment]
    worker._producer = SimpleNamespace(close=partial(done.append, "producer"))
    worker._consumer = SimpleNamespace(close=partial(done.append, "consumer"))  # type: ignore[assignment]
    assert worker.stop(drain=False) == 0
    assert done == ["output", "producer", "consumer", "loader"]


def tell_what_is_held_back(connection: Connection) -> None:
    connection.send(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_a_signal_to_the_whole_group_does_not_reach_a_worker_before_it_can_ignore_it() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=tell_what_is_held_back, args=(theirs,))
    start_deaf(process)
    assert ours.poll(30)
    assert ours.recv() >= {signal.SIGINT, signal.SIGTERM}
    process.join(30)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def starting(begun: list[str], opening: Callable[[], object]) -> Any:
    """A worker of which only the order of its start is real; `opening` happens as its producer opens."""

    def open_producer() -> None:
        begun.append("open")
        opening()

    loops = {name: SimpleNamespace(start=partial(begun.append, name)) for name in ("intake", "watchdog")}
    worker = SimpleNamespace(
        _loops=loops,
        _producer=SimpleNamespace(open=open_producer),
        _consumer=SimpleNamespace(join=lambda: begun.append("join")),
    )
    worker.start = partial(Worker.start, worker)
    return worker


def test_the_watchdog_runs_before_the_first_call_into_the_client() -> None:
    begun: list[str] = []
    starting(begun, lambda: None).start(partial(begun.append, "joining"))
    assert begun == ["watchdog", "open", "joining", "join", "intake"]


def test_a_worker_tells_its_supervisor_that_it_joins() -> None:
    begun: list[str] = []
    ours, theirs = multiprocessing.Pipe()
    _join(starting(begun, lambda: None), theirs)
    assert (ours.recv(), begun) == (Joining(), ["watchdog", "open", "join", "intake"])


def test_a_worker_whose_supervisor_is_gone_opens_no_producer() -> None:
    begun: list[str] = []
    ours, theirs = multiprocessing.Pipe()
    ours.send(STOP)
    ours.close()
    with pytest.raises(AloneError):
        _join(starting(begun, lambda: None), theirs)
    assert begun == []


def test_a_worker_whose_supervisor_goes_while_its_producer_opens_does_not_join() -> None:
    begun: list[str] = []
    ours, theirs = multiprocessing.Pipe()
    with pytest.raises(AloneError):
        _join(starting(begun, ours.close), theirs)
    assert begun == ["watchdog", "open"]


def test_a_word_of_the_supervisor_that_waits_is_no_end_of_it() -> None:
    begun: list[str] = []
    ours, theirs = multiprocessing.Pipe()
    ours.send(STOP)
    _join(starting(begun, lambda: None), theirs)
    assert ("join" in begun, theirs.recv()) == (True, STOP)


def test_a_worker_whose_supervisor_is_gone_ends_with_one_line() -> None:
    ended = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, timeout=40, check=False)
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert b"the supervisor is gone; this worker does not join" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_worker_that_cannot_leave_is_ended_by_force() -> None:
    code = "import time; from stream.process import _leave_within; _leave_within(0.1); time.sleep(60)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=40, check=False)
    assert (ended.returncode, b"not left after 0.1 s" in ended.stderr) == (1, True)


def test_a_worker_that_fails_ends_at_once_whatever_its_threads_do() -> None:
    ended = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, timeout=40, check=False)
    assert ended.returncode == 1
    assert b"cannot be built" in ended.stderr
