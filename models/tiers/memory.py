"""RAM: read-only files in shared memory, mapped by every process of the instance; one copy, one load.

A lease is a shared lock on a file of the entry, eviction takes it exclusively; a load holds the lock of its version,
so that a second process waits and finds the entry there.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from models.digests import spans
from models.errors import AbsentError, NoRoomError
from models.locks import FileLock
from models.release import Content, Release, VersionKey
from models.tiers.budget import Budget, Occupant
from models.tiers.pool import Pool
from models.tiers.protocol import Entry, Guard, TierName
from models.tiers.sink import Sink

log = logging.getLogger(__name__)

# Hidden, because a file of a model never is.
_NOTE = ".entry.json"
_LEASE = ".lease.lock"
_TRIES = 3
_INSTANT = 0.001
_LOOKS = 500


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Seconds that an entry may stay, and that it may stay unused."""

    ttl: float
    idle: float


class Holding:
    """The files of a version, mapped and leased. The maps are private: what is written to them reaches nobody."""

    def __init__(self, content: Content, lock: FileLock) -> None:
        self.content = content
        self._lock = lock

    def release(self) -> None:
        self._lock.release()


class Loading:
    """A version being written; nobody sees it before `keep`."""

    def __init__(self, release: Release, folder: Path, entry: Path) -> None:
        self._release = release
        self._folder = folder
        self._entry = entry
        self._files: dict[str, int] = {}
        with ExitStack() as undo:
            undo.callback(self.close)
            for name in release.manifest.files:
                self._files[name] = os.open(folder / name, os.O_WRONLY)
            undo.pop_all()

    def sink(self) -> Sink:
        """Takes the chunks; each attempt at a source gets its own."""
        return Sink(self._release, self._write)

    def keep(self, seconds: float) -> None:
        """All is written and checked: from now on every process sees it. `seconds` is what the load took."""
        for name in self._files:
            (self._folder / name).chmod(0o400)
        (self._folder / _NOTE).write_text(json.dumps({"load_seconds": seconds}), encoding="utf-8")
        (self._folder / _LEASE).touch(mode=0o600)
        self._folder.rename(self._entry)

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)

    def _write(self, file: str, offset: int, chunk: memoryview) -> None:
        try:
            while chunk:
                written = os.pwrite(self._files[file], chunk, offset)
                chunk, offset = chunk[written:], offset + written
        except OSError as error:
            raise NoRoomError(
                f"{self._release.key}: cannot be written to {self._folder}: {error.strerror}; "
                "free space there or lower cache.l1_memory_gb"
            ) from error


class MemoryTier:
    """Versions in a pool of shared memory, bounded by a budget that all its processes keep together."""

    name = TierName.MEMORY

    def __init__(self, pool: Pool, budget: Budget, lifetime: Lifetime, wall: Callable[[], float]) -> None:
        self._pool = pool
        self._budget = budget
        self._lifetime = lifetime
        self._wall = wall
        self._hits: Counter[VersionKey] = Counter()
        self._lock = threading.Lock()

    @property
    def budget(self) -> int | None:
        return self._budget.limit

    def used(self) -> int:
        return sum(map(_bytes, (*self._folders(self._pool.entries), *self._folders(self._pool.loading))))

    def entries(self) -> list[Entry]:
        return [entry for folder in self._folders(self._pool.entries) if (entry := self._entry(folder))]

    def holds(self, key: VersionKey) -> bool:
        return (self._pool.entries / key.folder).is_dir()

    def lease(self, release: Release) -> Holding | None:
        """The files, safe from eviction until released. None when they are not here, or not all of them."""
        folder = self._pool.entries / release.key.folder
        if (lock := self._shared(folder)) is None:
            return None
        with ExitStack() as undo:
            undo.callback(lock.release)
            if (content := self._content(folder, release)) is None:
                return None
            undo.pop_all()
        self.touch(release.key)
        with self._lock:
            self._hits[release.key] += 1
        return Holding(content, lock)

    @contextmanager
    def loading(self, release: Release, guard: Guard) -> Iterator[Loading | None]:
        """Alone in loading this version; None when another process did meanwhile.

        What is not kept is gone at the end. Raises NoRoomError.
        """
        key = release.key
        with FileLock.wait(self._pool.lock(f"{key.folder}.load"), guard.check):
            if self.holds(key):
                yield None
                return
            folder = self._pool.loading / key.folder
            try:
                self._reserve(release, folder, guard)
                with closing(Loading(release, folder, self._pool.entries / key.folder)) as loading:
                    yield loading
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def store(self, release: Release, content: Content, guard: Guard) -> None:
        started = self._wall()
        with self.loading(release, guard) as loading:
            if loading is None:
                return
            sink = loading.sink()
            try:
                for name, data in content.items():
                    _copy(name, data, sink, guard)
                sink.finish()
            finally:
                sink.close()
            loading.keep(self._wall() - started)

    def read(self, release: Release, sink: Sink, guard: Guard) -> None:
        if (holding := self.lease(release)) is None:
            raise AbsentError(f"{release.key} is not in memory")
        try:
            for name, data in holding.content.items():
                _copy(name, data, sink, guard)
        finally:
            holding.release()

    def evict(self, key: VersionKey) -> bool:
        folder = self._pool.entries / key.folder
        if self._budget.appraise(key).pinned:
            return False
        if (lock := FileLock.attempt(folder / _LEASE, shared=False, create=False)) is None:
            return False
        with lock:
            self._remove(folder)
        return True

    def purge(self, key: VersionKey) -> None:
        self._remove(self._pool.entries / key.folder)

    def touch(self, key: VersionKey) -> None:
        with suppress(FileNotFoundError):
            os.utime(self._pool.entries / key.folder / _LEASE, (self._wall(), self._wall()))

    def renew(self, key: VersionKey) -> None:
        """Its age begins anew: it is in demand, and versions never change."""
        with suppress(FileNotFoundError):
            os.utime(self._pool.entries / key.folder / _NOTE, (self._wall(), self._wall()))

    def expire(self) -> list[VersionKey]:
        entries = self.entries()
        for entry in entries:
            if min(entry.age, entry.idle) < 0:
                # The wall clock was set back: what lies in the future would never grow old.
                self.renew(entry.key)
                self.touch(entry.key)
        old = [e.key for e in entries if e.age > self._lifetime.ttl or e.idle > self._lifetime.idle]
        return [key for key in old if self.evict(key)]

    def close(self) -> None:
        self._pool.close()

    def _content(self, folder: Path, release: Release) -> Content | None:
        """Whoever wrote the files checked their digests; names and sizes tell whether somebody was at them since."""
        try:
            found = {path.name: path.stat().st_size for path in _files(folder)}
            if found == {name: file.bytes for name, file in release.manifest.files.items()}:
                return {name: _mapped(folder / name) for name in found}
        except FileNotFoundError:
            return None
        self._discard(folder, f"its files are {found}, which is not what the manifest says")
        return None

    def _shared(self, folder: Path) -> FileLock | None:
        """Others hold the lock exclusively for an instant to see whether it is leased, or to evict.

        Where one of them is stopped meanwhile, or the lock is missing, the entry counts as not here.
        """
        for _ in range(_LOOKS):
            if (lock := FileLock.attempt(folder / _LEASE, shared=True, create=False)) is not None:
                return lock
            if not (folder / _LEASE).exists():
                self._discard(folder, "its lock is missing")
                return None
            time.sleep(_INSTANT)
        log.warning(
            "%s: a process holds this lock that may be stopped; end it (`fuser` tells which)", folder / _LEASE
        )
        return None

    def _discard(self, folder: Path, reason: str) -> None:
        if folder.is_dir():
            log.warning("%s: damaged: %s; it is removed, to be loaded again", folder, reason)
            self._remove(folder)

    def _reserve(self, release: Release, folder: Path, guard: Guard) -> None:
        """A folder with files of full size, so that every process counts them from now on."""
        for _ in range(_TRIES):
            with self._pool.accounts(guard):
                # Who loads this version holds its lock, so what lies there is of one that is gone.
                shutil.rmtree(folder, ignore_errors=True)
                self._sweep()
                entries = {entry.key: entry for entry in self.entries()}
                occupants = [self._occupant(entry) for entry in entries.values()]
                decision = self._budget.admit(occupants, self.used(), release.key, release.bytes)
                self._check_disk(release, sum(entries[key].bytes for key in decision))
                if not all(self.evict(key) for key in decision):
                    continue
                folder.mkdir()
                for name, file in release.manifest.files.items():
                    with (folder / name).open("wb") as sparse:
                        sparse.truncate(file.bytes)
                return
        raise NoRoomError(f"{release.key}: others lease what would have to go; try again")

    def _check_disk(self, release: Release, coming: int) -> None:
        """Before anything goes for it: somebody else may have filled the disk. `coming`: bytes of those who go."""
        if shutil.disk_usage(self._pool.folder).free + coming < release.bytes:
            raise NoRoomError(
                f"{release.key}: {self._pool.folder} has less than its {release.bytes} bytes free; free space there or "
                "lower cache.l1_memory_gb"
            )

    def _sweep(self) -> None:
        """Remove what loaders left that are gone, nobody holds their lock, and entries that nobody can lease."""
        for folder in self._folders(self._pool.entries):
            if _lacks_lease(folder):
                self._discard(folder, "its lock is missing")
        for folder in self._folders(self._pool.loading):
            lock = FileLock.attempt(self._pool.lock(f"{folder.name}.load"), shared=False)
            if lock is not None:
                with lock:
                    shutil.rmtree(folder, ignore_errors=True)

    def _occupant(self, entry: Entry) -> Occupant:
        return Occupant(entry.key, entry.bytes, entry.leases > 0, entry.age, entry.idle, entry.load_seconds)

    def _entry(self, folder: Path) -> Entry | None:
        try:
            key, note = VersionKey.of_folder(folder.name), folder / _NOTE
            seconds = float(json.loads(note.read_bytes())["load_seconds"])
            age, idle = self._wall() - note.stat().st_mtime, self._wall() - (folder / _LEASE).stat().st_mtime
            leases = int(self._leased(folder))
        except (OSError, ValueError, LookupError, TypeError) as error:
            if folder.is_dir():
                log.warning("%s: not an entry of the cache: %r; it is left alone", folder, error)
            return None
        pinned = self._budget.appraise(key).pinned
        return Entry(key, _bytes(folder), age, idle, self._hits[key], leases, seconds, pinned)

    def _leased(self, folder: Path) -> bool:
        if (lock := FileLock.attempt(folder / _LEASE, shared=False, create=False)) is None:
            return True
        lock.release()
        return False

    def _remove(self, folder: Path) -> None:
        gone = self._pool.loading / f"{folder.name}.{uuid.uuid4().hex[:8]}"
        with suppress(FileNotFoundError):
            folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _folders(self, place: Path) -> list[Path]:
        return sorted(place.iterdir()) if place.is_dir() else []


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name not in (_NOTE, _LEASE)]


def _lacks_lease(folder: Path) -> bool:
    try:
        return not (folder / _LEASE).exists()
    except OSError:
        return False


def _bytes(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in _files(folder))
    except OSError:
        # It went away, or is no folder that can be read: nobody can make room of it.
        return 0


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return memoryview(b"")
        # torch wants writable memory; private pages are shared until written, which nobody does.
        return memoryview(
            mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        )


def _copy(name: str, data: memoryview, sink: Sink, guard: Guard) -> None:
    for index, (start, end) in enumerate(spans(len(data))):
        guard.check()
        chunk = sink.buffer(name, index)
        chunk[:] = data[start:end]
        sink.put(name, index, chunk)
