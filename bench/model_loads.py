"""Whole loads through the cache: how fast verified bytes come in, what they cost in memory, how often they happen."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import queue
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import psutil

from bench.models_fixture import Unhurried, make_release
from bench.report import Figure, spread
from models.appraisal import Appraisals
from models.cache import ModelCache, Tiers
from models.demand import Demand
from models.eviction import Rules
from models.release import Content, Release
from models.repository import Repository
from models.tiers.budget import Budget
from models.tiers.device import DeviceTier
from models.tiers.lease import Lease
from models.tiers.memory import Lifetime, MemoryTier
from models.tiers.pool import Pool, default_folder
from models.tiers.repository import RepositoryTier

_FILE = "weights.bin"
_BLOCK = 8 << 20
_LOOK = 1.0
_BUDGET = 4_000_000_000
_SIZES = {"10 MB": 10_000_000, "850 MB": 850_000_000, "1,200 MB": 1_200_000_000}


def measure_loads(*, quick: bool) -> list[Figure]:
    """Loads from disk against plain reads that take turns with them, and from RAM, where nothing is copied."""
    sizes = {"10 MB": 10_000_000, "200 MB": 200_000_000} if quick else _SIZES
    rounds = 3 if quick else 5
    with _place() as (repository, pool):
        loads = {name: _measured(repository, pool, name, size, rounds) for name, size in sizes.items()}
        largest = loads[list(loads)[-1]]
        return [
            largest.against_read(list(loads)[-1]),
            *(figure for name, load in loads.items() for figure in load.times(name)),
            *_sharing(repository, pool, 200_000_000 if quick else 1_200_000_000),
            _crowd(repository, pool),
        ]


@dataclass(frozen=True, slots=True)
class Load:
    """Seconds of each round of each program; bytes of the model."""

    size: int
    disk: list[float]
    read: list[float]
    memory: list[float]

    def against_read(self, name: str) -> Figure:
        disk = [plain / load for plain, load in zip(self.read, self.disk, strict=True)]
        speeds = [self.size / each / 1e9 for each in self.read]
        return Figure(
            "load_disk_vs_read",
            statistics.median(disk),
            "x",
            "≥ 0.8",
            f"{spread(disk)}; {name}, pages of the file dropped before each; the plain read writes to the same "
            f"kind of file in shared memory and reaches {spread(speeds)} GB/s",
        )

    def times(self, name: str) -> list[Figure]:
        plain = name.replace(" ", "").replace(",", "").lower()
        return [
            _milliseconds(
                f"load_ram_{plain}_ms",
                self.memory,
                "its weights are views of pages in RAM; user asked < 1 from L1",
            ),
            _milliseconds(f"load_disk_{plain}_ms", self.disk, "user asked < 100 from files"),
        ]


def _measured(repository: Repository, pool: Path, name: str, size: int, rounds: int) -> Load:
    release = _publish(repository, name, size)
    path = repository.folder(release.key) / _FILE
    load = Load(size, [], [], [])
    for _ in range(rounds):
        with _cache(repository, pool) as cache:
            _drop(path)
            load.disk.append(_timed(lambda: cache.get(release, 600.0).release()))
            cache.tiers.device.evict(release.key)
            load.memory.append(_timed(lambda: cache.get(release, 600.0).release()))
        _drop(path)
        load.read.append(_timed(lambda: _plain_read(path, pool.parent / "plain")))
    return load


def _plain_read(path: Path, target: Path) -> None:
    """Read a file into a new one in shared memory, a block at a time, nothing checked."""
    block = memoryview(mmap.mmap(-1, _BLOCK))
    with path.open("rb", buffering=0) as source, target.open("wb", buffering=0) as sink:
        while count := source.readinto(block):
            sink.write(block[:count])
    target.unlink()


def _drop(path: Path) -> None:
    """Have the kernel forget the pages of a file, so that it is read from the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _sharing(repository: Repository, pool: Path, size: int) -> list[Figure]:
    """Two processes ask for one model at the same moment, each looks at every page of it."""
    release = _publish(repository, "shared", size)
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    arguments = (repository.root, pool, release, barrier, answers)
    processes = [context.Process(target=_share, args=arguments, daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    told = [_answer(answers, processes) for _ in processes]
    for process in processes:
        process.join()
    loads = sum(source != "memory" for source, _, _ in told)
    copies = sum(shared for _, shared, _ in told) / size
    # What the loader itself needs beside the pages that both see, at its highest, and those pages once.
    peak = max(private for _, _, private in told) / size + copies
    return [
        Figure("loads_for_2_processes", loads, "", "≤ 1", "two processes ask at the same moment"),
        Figure(
            "copies_in_ram",
            copies,
            "x",
            "",
            f"proportional set size of two processes ÷ {size} bytes",
        ),
        Figure(
            "load_peak_ratio",
            peak,
            "x",
            "≤ 1.1",
            "highest resident memory while loading, without what was there before, over the model's bytes",
        ),
    ]


def _answer(answers: Any, processes: Sequence[BaseProcess]) -> Any:
    """Of one of the processes. Raises RuntimeError where one has failed."""
    while True:
        try:
            return answers.get(timeout=_LOOK)
        except queue.Empty:
            if failed := [process.exitcode for process in processes if process.exitcode]:
                raise RuntimeError(f"a process that shares a model ended with {failed[0]}") from None


def _share(root: Path, pool: Path, release: Release, barrier: Barrier, answers: Any) -> None:
    process = psutil.Process()
    with _cache(Repository(root), pool) as cache:
        barrier.wait()
        before = process.memory_info()
        with _peak(process) as highest:
            lease = cache.get(release, 600.0)
            _touch(lease)
        barrier.wait()
        maps = process.memory_maps()
        shared = sum(each.pss for each in maps if str(pool) in each.path)
        private = max(highest) - (before.rss - before.shared)
        barrier.wait()
        answers.put((str(lease.source), shared, private))
        lease.release()


@contextmanager
def _peak(process: psutil.Process) -> Iterator[list[int]]:
    """The process's own memory, shared pages left out, looked at every few milliseconds."""
    seen, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            memory = process.memory_info()
            seen[0] = max(seen[0], memory.rss - memory.shared)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    yield seen
    done.set()
    watcher.join()


def _touch(lease: Lease) -> None:
    data = lease.model.content[_FILE]  # type: ignore[attr-defined]
    sum(data[place] for place in range(0, len(data), mmap.PAGESIZE))


def _crowd(repository: Repository, pool: Path) -> Figure:
    """A hundred threads miss one model at once."""
    release = _publish(repository, "crowded", 20_000_000)
    built: list[str] = []
    with _cache(repository, pool, built) as cache:
        start = threading.Barrier(100)

        def ask() -> None:
            start.wait()
            cache.get(release, 60.0).release()

        threads = [threading.Thread(target=ask) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return Figure("loads_for_100_misses", len(built), "", "≤ 1", "a hundred threads miss one model at once")


def _publish(repository: Repository, name: str, size: int) -> Release:
    plain = "model_" + "".join(letter for letter in name.lower() if letter.isalnum())
    release, content = make_release(plain, "1.0.0", {_FILE: size})
    RepositoryTier(repository).store(release, content, Unhurried())
    return release


@contextmanager
def _place() -> Iterator[tuple[Repository, Path]]:
    """A repository on the disk, and the folder of a pool in shared memory."""
    beside = default_folder(_BUDGET).parent
    with (
        TemporaryDirectory(prefix="claimstream-bench-", dir=Path.cwd()) as disk,
        TemporaryDirectory(prefix="claimstream-bench-", dir=beside) as fast,
    ):
        yield Repository(Path(disk), Path(disk) / "nothing"), Path(fast) / "pool"


@contextmanager
def _cache(repository: Repository, pool: Path, built: list[str] | None = None) -> Iterator[ModelCache]:
    """A cache of models that are nothing but their bytes, so that the tiers alone are measured."""

    def build(release: Release, content: Content) -> Any:
        if built is not None:
            built.append(str(release.key))
        return SimpleNamespace(bytes=release.bytes, content=content)

    now: Callable[[], float] = time.monotonic
    appraisals = Appraisals(Demand(), now)

    def budget(setting: str) -> Budget:
        return Budget(setting, Rules(_BUDGET), appraisals.appraise, now)

    memory = MemoryTier(Pool(pool, 0), budget("RAM"), Lifetime(1_800.0, 600.0), time.time)
    tiers = Tiers(DeviceTier(build, budget("device"), 600.0, now), memory, None, RepositoryTier(repository))
    cache = ModelCache(tiers, appraisals, now, shares_pages=True)
    try:
        yield cache
    finally:
        cache.close()


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _milliseconds(name: str, seconds: Sequence[float], note: str) -> Figure:
    values = [1_000 * each for each in seconds]
    return Figure(name, statistics.median(values), "ms", "", f"{spread(values)}; {note}")
