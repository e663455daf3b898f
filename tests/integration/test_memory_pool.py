"""RAM that processes share: one copy, one load, leases that end with their holder."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import psutil
import pytest

from models.errors import LoadTimeoutError, UnavailableError
from models.locks import FileLock
from models.release import Release
from models.tiers.pool import Pool
from models.tiers.protocol import Guard, TierName
from models.tiers.repository import RepositoryTier
from models.tiers.sink import Sink
from tests.cache_stage import CountedCache
from tests.repositories import flip

LARGE = 40_000_000
CONTEXT = multiprocessing.get_context("spawn")


def load_together(folder: Path, release: Release, barrier: Barrier, done: Event, answers: Any) -> None:
    """A process that asks at the same moment as others, and keeps its lease until all have answered."""
    cache = CountedCache(folder)
    barrier.wait(30.0)
    lease = cache.get(release, 30.0)
    data = lease.model.content["weights.bin"]  # type: ignore[attr-defined]
    touched = sum(data[place] for place in range(0, len(data), 4_096))
    shared = sum(each.pss for each in psutil.Process().memory_maps() if str(folder) in each.path)
    barrier.wait(30.0)
    shared = sum(each.pss for each in psutil.Process().memory_maps() if str(folder) in each.path)
    answers.put((str(lease.source), shared, touched))
    done.wait(30.0)
    lease.release()
    cache.close()


def come_and_go(folder: Path, rounds: int, *, killed: bool = False) -> None:
    """A process that joins the pool, uses it and leaves, again and again."""
    for _ in range(rounds):
        pool = Pool(folder, 0)
        mark = pool.entries / str(os.getpid())
        mark.mkdir(exist_ok=True)
        time.sleep(0.001)
        assert mark.exists()
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)
        pool.close()


class Stuck(RepositoryTier):
    """A source that stops half-way, for ever."""

    def read(self, release: Release, sink: Sink, guard: Guard) -> None:
        chunk = sink.buffer("weights.bin", 0)
        chunk[:] = b"x" * len(chunk)
        time.sleep(60.0)


def load_and_hang(folder: Path, release: Release) -> None:
    CountedCache(folder, source=Stuck).get(release, 60.0)


def lease_and_hang(folder: Path, release: Release, leased: Event) -> None:
    lease = CountedCache(folder).get(release, 30.0)
    leased.set()
    time.sleep(60.0)
    lease.release()


def load_and_die(folder: Path, release: Release) -> None:
    """A process that ends without a word, and its entry stays."""
    CountedCache(folder).get(release, 30.0)
    os.kill(os.getpid(), signal.SIGKILL)


def stop_with(lock: Path, held: Event) -> None:
    """A process that is stopped while it holds a lock."""
    with FileLock.wait(lock, lambda: None):
        held.set()
        os.kill(os.getpid(), signal.SIGSTOP)


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Starts processes that do not outlive the test."""
    started = []

    def run(target: Callable[..., None], *arguments: Any, **more: Any) -> Any:
        process = CONTEXT.Process(target=target, args=arguments, kwargs=more, daemon=True)
        process.start()
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.join()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_processes_load_once_and_share_one_copy(tmp_path: Path, start: Callable[..., Any]) -> None:
    own = CountedCache(tmp_path)
    release = own.publish("a", size=LARGE)
    barrier, done, answers = CONTEXT.Barrier(2), CONTEXT.Event(), CONTEXT.Queue()
    processes = [start(load_together, tmp_path, release, barrier, done, answers) for _ in range(2)]
    told = [answers.get(timeout=60.0) for _ in processes]
    done.set()
    for process in processes:
        process.join(20.0)
        assert process.exitcode == 0
    assert sorted(source for source, _, _ in told) == ["memory", "repository"]
    assert told[0][2] == told[1][2]
    # Proportional set size: what two processes map counts half for each.
    assert 0.9 * LARGE < sum(shared for _, shared, _ in told) < 1.1 * LARGE
    own.close()


def test_a_loader_that_is_killed_leaves_nothing_for_ever(tmp_path: Path, start: Callable[..., Any]) -> None:
    cache = CountedCache(tmp_path)
    release = cache.publish("a", size=LARGE)
    process = start(load_and_hang, tmp_path, release)
    until(lambda: cache.tiers.memory.used() == LARGE)
    assert not cache.tiers.memory.holds(release.key)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with cache.get(release, 20.0) as model:
        assert bytes(model.content["weights.bin"][:8]) != b"x" * 8  # type: ignore[attr-defined]
    assert cache.tiers.memory.used() == LARGE
    cache.close()


def test_a_lease_of_another_process_holds_until_it_is_gone(tmp_path: Path, start: Callable[..., Any]) -> None:
    cache = CountedCache(tmp_path)
    release, leased = cache.publish("a"), CONTEXT.Event()
    process = start(lease_and_hang, tmp_path, release, leased)
    assert leased.wait(30.0)
    assert not cache.tiers.memory.evict(release.key)
    assert cache.tiers.memory.entries()[0].leases == 1
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert cache.tiers.memory.evict(release.key)
    assert cache.tiers.memory.used() == 0
    cache.close()


def test_a_process_that_is_stopped_costs_a_load_its_time_and_no_more(
    tmp_path: Path, start: Callable[..., Any]
) -> None:
    cache = CountedCache(tmp_path)
    release, held = cache.publish("a"), CONTEXT.Event()
    process = start(stop_with, tmp_path / "pool" / "locks" / "accounts", held)
    assert held.wait(30.0)
    ticket = cache.request(release, 0.3)
    with pytest.raises(LoadTimeoutError, match=r"a:1\.0\.0: not loaded within 0\.3 s"):
        ticket.future.result(10.0)
    ticket.leave()
    os.kill(process.pid, signal.SIGKILL)
    with cache.get(release, 10.0):
        assert cache.tiers.memory.used() == release.bytes
    cache.close()


def test_what_processes_leave_that_are_gone_is_not_believed(
    tmp_path: Path, start: Callable[..., Any]
) -> None:
    own = CountedCache(tmp_path)
    release = own.publish("a")
    own.close()
    start(load_and_die, tmp_path, release).join(30.0)
    (weights,) = (tmp_path / "pool" / "entries").glob("*/weights.bin")
    flip(weights, 100)
    cache = CountedCache(tmp_path)
    assert cache.tiers.memory.used() == 0
    lease = cache.get(release, 10.0)
    assert lease.source is TierName.REPOSITORY
    lease.release()
    cache.close()


def test_the_last_one_out_removes_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    one, other = Pool(folder, 0), Pool(folder, 0)
    one.close()
    assert folder.exists()
    other.close()
    assert not folder.exists()
    Pool(folder, 0).close()
    assert not folder.exists()


def test_nobody_loses_the_folder_to_one_who_leaves(tmp_path: Path, start: Callable[..., Any]) -> None:
    processes = [
        start(come_and_go, tmp_path / "pool", 40, killed=killed)
        for killed in (False, True, False, True, False)
    ]
    for process in processes:
        process.join(30.0)
    assert [process.exitcode for process in processes] == [0, -signal.SIGKILL, 0, -signal.SIGKILL, 0]
    # One that was killed may have been the last.
    Pool(tmp_path / "pool", 0).close()
    assert not (tmp_path / "pool").exists()


def test_a_pinned_version_that_was_to_go_can_still_be_leased(tmp_path: Path) -> None:
    cache = CountedCache(tmp_path)
    release = cache.publish("a")
    cache.get(release, 10.0).release()
    cache.tiers.device.evict(release.key)
    cache.appraisals.pin(release.key)
    assert not cache.tiers.memory.evict(release.key)
    assert cache.get(release, 10.0).source is TierName.MEMORY
    cache.close()


def test_a_folder_that_is_too_small_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"are free, the budget is .*; lower cache\.l1_memory_gb"):
        Pool(tmp_path / "pool", 10**18)
    assert not (tmp_path / "pool").exists()


def test_a_disk_that_filled_up_keeps_nobody_from_joining_others(tmp_path: Path) -> None:
    first = Pool(tmp_path / "pool", 0)
    Pool(tmp_path / "pool", 10**18).close()
    first.close()


def test_a_place_where_nothing_can_be_made_says_what_to_do() -> None:
    with pytest.raises(UnavailableError, match=r"models cannot be kept here: .*; set cache\.memory_folder"):
        Pool(Path("/proc/claimstream/pool"), 0)
    with pytest.raises(UnavailableError, match="models cannot be kept here"):
        Pool(Path("/proc/pool"), 0)


def test_a_folder_that_somebody_removes_costs_the_sharing_and_not_the_load(tmp_path: Path) -> None:
    cache = CountedCache(tmp_path)
    release = cache.publish("a")
    shutil.rmtree(tmp_path / "pool")
    lease = cache.get(release, 10.0)
    assert cache.private_bytes == release.bytes
    lease.release()
    cache.close()


@pytest.mark.parametrize("obstacle", ["file", "link"])
def test_a_folder_that_is_none_says_what_to_do(tmp_path: Path, obstacle: str) -> None:
    if obstacle == "file":
        (tmp_path / "pool").write_text("not a folder")
    else:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "pool").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnavailableError, match=r"models cannot be kept here: .*; set cache\.memory_folder"):
        Pool(tmp_path / "pool", 0)
