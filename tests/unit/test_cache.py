"""The walk through the tiers, who waits for it, and what it leaves behind."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.errors import (
    AbsentError,
    ArtifactError,
    BuildError,
    DeviceError,
    LoadCancelledError,
    LoadFailedError,
    LoadTimeoutError,
    ModelError,
    NoRoomError,
    TooLargeError,
    UnreachableError,
)
from models.locks import FileLock
from models.release import Content, Release, VersionKey
from models.status import Walks, status_of
from models.supply import BegunLoad
from models.tiers.protocol import Guard, TierName
from models.tiers.repository import RepositoryTier
from models.tiers.sink import Sink
from stream.clock import ManualClock
from tests.cache_stage import SIZE, CountedCache
from tests.repositories import Clock

EMPTY = {"device": 0, "memory": 0, "private": 0}


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CountedCache]:
    made = CountedCache(tmp_path)
    yield made
    made.close()


class NearTier(RepositoryTier):
    """Stands where Redis stands: gives what the repository has, or fails as it is told."""

    name = TierName.REDIS
    failure: Exception | None = None
    spoiled = False

    def __init__(self, cache: Callable[[], CountedCache]) -> None:
        self._cache = cache
        self.purged: list[VersionKey] = []
        self.stored: list[VersionKey] = []
        self.has = True

    def holds(self, key: VersionKey) -> bool:
        return self.has

    def read(self, release: Release, sink: Sink, guard: Guard) -> None:
        if self.failure is not None:
            raise self.failure
        if self.spoiled:
            chunk = sink.buffer("weights.bin", 0)
            chunk[:] = bytes(len(chunk))
            sink.put("weights.bin", 0, chunk)
            return
        self._cache().tiers.repository.read(release, sink, guard)

    def store(self, release: Release, content: Content, guard: Guard) -> None:
        self.stored.append(release.key)

    def purge(self, key: VersionKey) -> None:
        self.purged.append(key)

    def entries(self) -> list[Any]:
        return []

    def touch(self, key: VersionKey) -> None: ...


@pytest.fixture
def near(tmp_path: Path) -> Iterator[tuple[CountedCache, NearTier]]:
    made: list[CountedCache] = []
    tier = NearTier(lambda: made[0])
    made.append(CountedCache(tmp_path, redis=tier))
    yield made[0], tier
    made[0].close()


def test_a_model_is_loaded_once_and_then_resident(cache: CountedCache) -> None:
    release = cache.publish("a")
    assert cache.resident(release.key) is None
    with cache.get(release, 10.0) as first, cache.get(release, 10.0) as second:
        assert first is second
    assert cache.resident(release.key) is not None
    assert cache.built == {"a": 1}
    assert cache.accounts() == {"device": SIZE, "memory": SIZE, "private": 0}


def test_a_load_says_what_took_the_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    cache = CountedCache(tmp_path, now=clock.now)
    cache.while_building = lambda: clock.advance(40.0)
    with caplog.at_level("INFO", "models.cache"):
        cache.get(cache.publish("a"), 60.0).release()
    cache.close()
    assert (
        "loaded in 40.000 s: 0.000 s for its bytes, from repository, 40.000 s to build and try it"
        in caplog.text
    )


def test_a_hundred_misses_are_one_load(cache: CountedCache) -> None:
    release, models = cache.publish("a"), []
    cache.may_build.clear()

    def ask() -> None:
        with cache.get(release, 10.0) as model:
            models.append(model)

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    cache.may_build.set()
    for thread in threads:
        thread.join()
    assert len(models) == 100
    assert len({id(model) for model in models}) == 1
    assert cache.built == {"a": 1}


def test_what_left_the_device_comes_back_from_memory(cache: CountedCache) -> None:
    release = cache.publish("a")
    cache.get(release, 10.0).release()
    cache.tiers.device.evict(release.key)
    shutil.rmtree(cache.repository.folder(release.key))
    lease = cache.get(release, 10.0)
    assert lease.source is TierName.MEMORY
    lease.release()


def test_the_nearer_source_is_asked_first(near: tuple[CountedCache, NearTier]) -> None:
    cache, _ = near
    release = cache.publish("a")
    lease = cache.get(release, 10.0)
    assert lease.source is TierName.REDIS
    lease.release()
    assert cache.served == {"device": 0, "memory": 0, "redis": 1, "repository": 0}
    status = status_of(cache, Walks(Clock(0.0)), 0.0)
    assert (status.hit_rate_l1, status.hit_rate_l2, status.hit_rate) == (0.0, 1.0, 1.0)


def test_the_repository_is_walked_once_in_so_many_seconds_for_who_looks_often(tmp_path: Path) -> None:
    cache, clock = CountedCache(tmp_path), Clock(100.0)
    walks = Walks(clock)

    def seen(oldest: float) -> tuple[list[str], int]:
        memory, repository = status_of(cache, walks, oldest).tiers[1:]
        return [entry.model for entry in repository.entries], len(memory.entries)

    cache.publish("a")
    assert seen(60.0) == (["a"], 0)
    cache.get(cache.publish("b"), 10.0).release()
    clock.time += 59.0
    assert seen(60.0) == (["a"], 1)
    clock.time += 1.0
    assert seen(60.0) == (["a", "b"], 1)
    cache.publish("c")
    assert seen(0.0) == (["a", "b", "c"], 1)
    cache.close()


@pytest.mark.parametrize(
    "failure", [UnreachableError("away"), AbsentError("vanished"), ArtifactError("poison")]
)
def test_a_source_that_fails_is_passed_by(near: tuple[CountedCache, NearTier], failure: Exception) -> None:
    cache, tier = near
    tier.failure = failure
    release = cache.publish("a")
    lease = cache.get(release, 10.0)
    assert lease.source is TierName.REPOSITORY
    lease.release()
    assert tier.purged == ([] if isinstance(failure, UnreachableError) else [release.key])


def test_a_bad_copy_is_purged_and_never_built(near: tuple[CountedCache, NearTier]) -> None:
    cache, tier = near
    tier.spoiled = True
    release = cache.publish("a")
    lease = cache.get(release, 10.0)
    assert lease.source is TierName.REPOSITORY
    lease.release()
    assert tier.purged == [release.key]
    assert cache.built == {"a": 1}


def test_what_came_from_the_repository_goes_to_redis(near: tuple[CountedCache, NearTier]) -> None:
    cache, tier = near
    tier.has = False
    release = cache.publish("a")
    cache.get(release, 10.0).release()
    cache.close()
    assert tier.stored == [release.key]


def test_a_damaged_repository_is_an_error_that_leaves_nothing(cache: CountedCache) -> None:
    release = cache.publish("a")
    cache.damage(release)
    with pytest.raises(ArtifactError, match=r"a:1\.0\.0: weights\.bin, chunk 0: its BLAKE3 is"):
        cache.get(release, 10.0)
    assert cache.accounts() == EMPTY
    assert cache.built == {}


@pytest.mark.parametrize(
    ("error", "becomes", "said"),
    [
        (ArtifactError("not these tensors"), ArtifactError, "not these tensors"),
        (RuntimeError("sizes"), BuildError, r"a:1\.0\.0: cannot be built: RuntimeError: sizes"),
        # No fault of the version: the next try may find memory, and whoever failed for good fails the same.
        (
            MemoryError("cuda:0: out of memory"),
            LoadFailedError,
            r"a:1\.0\.0: not loaded: cuda:0.*gpu_memory_gb",
        ),
        (OSError(24, "Too many open files"), LoadFailedError, r"a:1\.0\.0: not loaded: .*open files"),
        (DeviceError("cuda:0: an illegal memory access"), DeviceError, "illegal memory access"),
    ],
)
def test_a_build_that_fails_leaves_only_verified_bytes(
    cache: CountedCache, error: Exception, becomes: type[ModelError], said: str
) -> None:
    release = cache.publish("a")
    cache.failure = error
    with pytest.raises(becomes, match=said):
        cache.get(release, 10.0)
    assert cache.accounts() == {"device": 0, "memory": SIZE, "private": 0}
    assert cache.tiers.memory.evict(release.key)
    assert cache.accounts() == EMPTY


def test_a_load_that_takes_too_long_leaves_nothing(tmp_path: Path) -> None:
    ticks = iter(range(0, 10_000, 30))
    cache = CountedCache(tmp_path, now=lambda: float(next(ticks)))
    release = cache.publish("a")
    ticket = cache.request(release, 10.0)
    with pytest.raises(LoadTimeoutError, match=r"a:1\.0\.0: not loaded within 10 s; nothing of it stays"):
        ticket._flight.done.result(10.0)
    with pytest.raises(LoadTimeoutError, match=r"a:1\.0\.0: not loaded within 10 s; nothing of it stays"):
        cache.take(ticket)
    assert (cache.tiers.memory.used(), cache.private_bytes, cache.built) == (0, 0, {})
    cache.close()


def test_a_load_that_nobody_waits_for_leaves_nothing(cache: CountedCache) -> None:
    release = cache.publish("a")
    cache.may_build.clear()
    ticket = cache.request(release, 10.0)
    while not cache.loading:
        pass
    ticket.leave()
    cache.may_build.set()
    with pytest.raises(LoadCancelledError):
        ticket.future.result(5.0)
    assert cache.built == {}
    assert cache.tiers.device.used() == 0


def test_a_begun_load_ends_with_its_own_time_and_not_with_that_of_others(tmp_path: Path) -> None:
    clock = ManualClock()
    cache = CountedCache(tmp_path, now=clock.now)
    release = cache.publish("a")
    cache.may_build.clear()
    patient = cache.request(release, 60.0)
    begun = BegunLoad(cache, cache.request(release, 1.0))
    assert not begun.done
    clock.advance(2.0)
    assert begun.done
    with pytest.raises(LoadTimeoutError, match=r"a:1\.0\.0: not loaded within 1 s"):
        begun.take()
    cache.may_build.set()
    cache.take(patient).release()
    cache.close()


def test_loads_that_wait_for_other_processes_stop_no_third(cache: CountedCache, tmp_path: Path) -> None:
    waiting = [cache.publish(name) for name in "abc"]
    with ExitStack() as others:
        for release in waiting:
            lock = FileLock.attempt(tmp_path / "pool" / "locks" / f"{release.key.folder}.load", shared=False)
            assert lock is not None
            others.enter_context(lock)
        tickets = [cache.request(release, 30.0) for release in waiting]
        cache.get(cache.publish("d"), 10.0).release()
        assert not any(ticket.future.done() for ticket in tickets)
    for ticket in tickets:
        cache.take(ticket).release()


def test_few_loads_work_at_a_time(cache: CountedCache) -> None:
    working, most, lock, pairs = 0, 0, threading.Lock(), threading.Barrier(2)

    def work() -> None:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        pairs.wait(10.0)
        time.sleep(0.01)
        with lock:
            working -= 1

    cache.while_building = work
    releases = [cache.publish(name) for name in "abcdefgh"]
    for ticket in [cache.request(release, 30.0) for release in releases]:
        cache.take(ticket).release()
    assert most == 2


def test_a_leased_model_is_never_evicted(tmp_path: Path) -> None:
    cache = CountedCache(tmp_path, device=2 * SIZE, memory=2 * SIZE)
    a, b, c = (cache.publish(name) for name in "abc")
    with cache.get(a, 10.0), cache.get(b, 10.0):
        lease = cache.get(c, 10.0)
        assert not lease.cached
        assert cache.private_bytes == SIZE
        assert {entry.key.name for entry in cache.tiers.device.entries()} == {"a", "b"}
        assert not cache.tiers.device.evict(a.key)
        lease.release()
    assert cache.private_bytes == 0
    assert cache.tiers.device.used() == 2 * SIZE
    cache.close()


def test_what_is_served_without_being_cached_has_a_bound(tmp_path: Path) -> None:
    cache = CountedCache(tmp_path, device=2 * SIZE, memory=2 * SIZE)
    *held, waiting = [cache.publish(name) for name in "abcde"]
    leases = [cache.get(release, 10.0) for release in held]
    assert (cache.private_bytes, [lease.cached for lease in leases]) == (2 * SIZE, [True, True, False, False])
    with pytest.raises(
        NoRoomError, match=r"e:1\.0\.0: not loaded in time: .* beside the device's budget, .*; let leases go"
    ):
        cache.get(waiting, 0.2)
    ticket = cache.request(waiting, 10.0)
    leases.pop().release()
    leases.append(cache.take(ticket))
    assert cache.private_bytes == 2 * SIZE
    for lease in leases:
        lease.release()
    assert cache.private_bytes == 0
    assert cache.tiers.device.used() == 2 * SIZE
    cache.close()


def test_copies_of_its_own_stay_where_their_going_would_not_be_enough(tmp_path: Path) -> None:
    other = CountedCache(tmp_path, memory=2 * SIZE)
    cache = CountedCache(tmp_path, device=2 * SIZE, memory=2 * SIZE)
    a, b, c, d = (cache.publish(name) for name in "abcd")
    large = cache.publish("large", size=2 * SIZE)
    held = [other.get(release, 10.0) for release in (a, b)]
    cache.get(d, 10.0).release()
    with cache.get(c, 10.0):
        with pytest.raises(NoRoomError, match=r"large:1\.0\.0: not loaded in time"):
            cache.get(large, 0.2)
        assert cache.tiers.device.holds(d.key)
    cache.get(large, 10.0).release()
    assert not cache.tiers.device.holds(d.key)
    for lease in held:
        lease.release()
    cache.close()
    other.close()


def test_what_no_disk_has_room_for_pushes_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = CountedCache(tmp_path, memory=2 * SIZE)
    a, b, c = (cache.publish(name) for name in "abc")
    for release in (a, b):
        cache.get(release, 10.0).release()
        assert cache.tiers.device.evict(release.key)
    # Somebody else has filled it: what one of them leaves is not enough.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=-1))
    lease = cache.get(c, 10.0)
    assert (cache.tiers.memory.used(), cache.private_bytes) == (2 * SIZE, SIZE)
    lease.release()
    cache.close()


def test_copies_of_its_own_have_a_bound_and_go_once_memory_has_room(tmp_path: Path) -> None:
    other = CountedCache(tmp_path, memory=2 * SIZE)
    cache = CountedCache(tmp_path, device=2 * SIZE, memory=2 * SIZE)
    a, b, c, d, e = (cache.publish(name) for name in "abcde")
    held = [other.get(release, 10.0) for release in (a, b)]
    for release in (c, d, c, d):
        cache.get(release, 10.0).release()
    # Nothing of the other's can go: what this one has is its own, and stays, or each claim would load it anew.
    assert (cache.built, cache.private_bytes) == ({"c": 1, "d": 1}, 2 * SIZE)
    cache.maintain()
    assert cache.tiers.device.holds(c.key)
    with cache.get(c, 10.0), cache.get(e, 10.0):
        assert cache.private_bytes == 2 * SIZE
        assert not cache.tiers.device.holds(d.key)
        with pytest.raises(NoRoomError, match=r"d:1\.0\.0: not loaded in time"):
            cache.get(d, 0.2)
    for lease in held:
        lease.release()
        # From both: whether they would go for a copy depends on how long each load took.
        assert other.tiers.device.evict(lease.key)
        assert other.tiers.memory.evict(lease.key)
    cache.maintain()
    assert cache.private_bytes == 0
    assert c.key in cache.misplaced()
    assert cache.get(c, 10.0).source is TierName.MEMORY
    cache.close()
    other.close()


def test_what_is_asked_for_more_pushes_out_what_is_not(tmp_path: Path) -> None:
    cache = CountedCache(tmp_path, device=2 * SIZE, memory=2 * SIZE)
    a, b, c = (cache.publish(name) for name in "abc")
    for release in (a, b):
        cache.get(release, 10.0).release()
    for _ in range(20):
        for release in (a, c):
            cache.get(release, 10.0).release()
    assert {entry.key.name for entry in cache.tiers.device.entries()} == {"a", "c"}
    assert cache.accounts() == {"device": 2 * SIZE, "memory": 2 * SIZE, "private": 0}
    cache.close()


@pytest.mark.parametrize("pause", [0.001, 1.0, 60.0])
def test_thrashing_does_not_touch_what_is_cached(tmp_path: Path, pause: float) -> None:
    clock = ManualClock()
    cache = CountedCache(tmp_path, device=2 * SIZE, memory=2 * SIZE, now=clock.now)
    cache.while_building = lambda: clock.advance(0.1)
    releases = [cache.publish(name) for name in "abc"]
    for _ in range(30):
        for release in releases:
            cache.get(release, 10.0).release()
            clock.advance(pause)
    # In turns, none is asked for more than another: two stay, and the third is loaded each time.
    assert sorted(cache.built.values()) == [1, 1, 30]
    assert cache.tiers.device.used() == 2 * SIZE
    cache.close()


@pytest.mark.parametrize(("device", "memory", "named"), [(SIZE - 1, 20 * SIZE, "the device's budget")])
def test_a_model_larger_than_the_device_says_so(tmp_path: Path, device: int, memory: int, named: str) -> None:
    cache = CountedCache(tmp_path, device=device, memory=memory)
    release = cache.publish("a")
    with pytest.raises(
        TooLargeError, match=rf"a:1\.0\.0: its {SIZE} bytes do not fit {named} of {device} bytes"
    ):
        cache.get(release, 10.0)
    assert cache.accounts() == EMPTY
    cache.close()


def test_where_ram_is_too_small_the_device_gets_its_own_copy(tmp_path: Path) -> None:
    cache = CountedCache(tmp_path, memory=SIZE - 1, shares_pages=False)
    release = cache.publish("a")
    cache.get(release, 10.0).release()
    assert cache.accounts() == {"device": SIZE, "memory": 0, "private": 0}
    cache.close()


def test_a_kernel_without_large_pages_gives_small_ones(
    cache: CountedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("models.tiers.memory.os.pwrite", full)
    monkeypatch.setattr("models.fetching.mmap.mmap", Small)
    lease = cache.get(cache.publish("a"), 10.0)
    assert cache.private_bytes == SIZE
    lease.release()


def test_a_full_disk_costs_the_copy_and_not_the_load(
    cache: CountedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = cache.publish("a")

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.tiers.memory.os.pwrite", full)
    lease = cache.get(release, 10.0)
    assert (cache.tiers.memory.used(), cache.private_bytes) == (0, SIZE)
    assert (
        bytes(lease.model.content["weights.bin"])
        == (  # type: ignore[attr-defined]
            cache.repository.folder(release.key) / "weights.bin"
        ).read_bytes()
    )
    lease.release()
    cache.tiers.device.evict(release.key)
    assert cache.accounts() == EMPTY


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(24, "Too many open files"),
            r"a:1\.0\.0: not loaded: \[Errno 24\] Too many open files; make room",
        ),
        (MemoryError(), r"a:1\.0\.0: not loaded: out of memory; make room for what is short: memory"),
        (
            RuntimeError("what is this"),
            r"a:1\.0\.0: not loaded: RuntimeError: what is this; the log has where",
        ),
    ],
)
def test_whatever_ends_a_load_is_an_error_of_a_model(
    cache: CountedCache, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def failing(*_: Any) -> memoryview:
        raise error

    release = cache.publish("a")
    with monkeypatch.context() as patched:
        patched.setattr("models.tiers.memory._mapped", failing)
        with pytest.raises(LoadFailedError, match=told):
            cache.get(release, 10.0)
    assert cache.accounts() == {"device": 0, "memory": SIZE, "private": 0}
    cache.get(release, 10.0).release()


def test_files_that_cannot_be_opened_cost_the_sharing_and_leave_none_open(
    cache: CountedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = cache.publish("a", files=("weights.bin", "vocabulary.json"))
    opened, real_open = [], os.open

    def scarce(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags != os.O_WRONLY:
            return real_open(path, flags, *more, **named)
        if opened:
            raise OSError(24, "Too many open files")
        descriptor = real_open(path, flags, *more)
        opened.append((descriptor, os.fstat(descriptor).st_ino))
        return descriptor

    def still_open(descriptor: int, inode: int) -> bool:
        with suppress(OSError):
            return os.fstat(descriptor).st_ino == inode
        return False

    monkeypatch.setattr("models.tiers.memory.os.open", scarce)
    lease = cache.get(release, 10.0)
    assert (cache.tiers.memory.used(), cache.private_bytes) == (0, release.bytes)
    assert [still_open(*file) for file in opened] == [False]
    lease.release()


def test_a_place_that_cannot_be_reserved_leaves_nothing(
    cache: CountedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = cache.publish("a", files=("weights.bin", "vocabulary.json"))
    real = Path.open

    def full(path: Path, mode: str = "r", *more: Any) -> Any:
        if mode == "wb" and path.name == "vocabulary.json":
            raise OSError(28, "No space left on device")
        return real(path, mode, *more)

    monkeypatch.setattr(Path, "open", full)
    lease = cache.get(release, 10.0)
    assert (cache.tiers.memory.used(), cache.private_bytes) == (0, release.bytes)
    lease.release()


def test_what_was_idle_on_the_device_is_not_brought_back_until_it_is_asked_for(tmp_path: Path) -> None:
    clock = ManualClock()
    cache = CountedCache(tmp_path, now=clock.now)
    idle, pushed = cache.publish("a"), cache.publish("b")
    for release in (idle, pushed):
        cache.get(release, 10.0).release()
    clock.advance(599.0)
    cache.get(pushed, 10.0).release()
    assert cache.tiers.device.evict(pushed.key)
    clock.advance(2.0)
    cache.maintain()
    assert not cache.tiers.device.holds(idle.key)
    assert cache.misplaced() == [pushed.key]
    cache.get(idle, 10.0).release()
    assert cache.tiers.device.evict(idle.key)
    assert set(cache.misplaced()) == {idle.key, pushed.key}
    cache.close()


def test_a_lease_that_is_forgotten_ends_with_its_owner(cache: CountedCache) -> None:
    release = cache.publish("a")
    lease = cache.get(release, 10.0)
    assert not cache.tiers.device.evict(release.key)
    del lease
    gc.collect()
    assert cache.tiers.device.expire() == []
    assert cache.tiers.device.evict(release.key)


def test_closing_gives_back_everything(tmp_path: Path) -> None:
    cache = CountedCache(tmp_path)
    for name in "abc":
        cache.get(cache.publish(name), 10.0).release()
    cache.close()
    assert cache.tiers.device.used() == 0
    assert not (tmp_path / "pool").exists()


def test_nothing_is_found_anywhere(cache: CountedCache) -> None:
    release = cache.publish("a")
    shutil.rmtree(cache.repository.folder(release.key))
    with pytest.raises(AbsentError, match=r"a:1\.0\.0: no tier holds it; push it to the repository"):
        cache.get(release, 10.0)
    assert cache.accounts() == EMPTY
