"""The folder that all processes of an instance share: one per pool of RAM, gone when its last user is.

What lies there is trusted as long as somebody has watched over it: whoever joins alone empties it first.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from models.errors import UnavailableError
from models.locks import FileLock, patience
from models.tiers.protocol import Guard

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the name that Linux gives to memory shared by processes

_BLOCK = 512
_JOIN_SECONDS = 10.0
_LOOKS = 3
_INSTANT = 0.001
_ENTRIES, _LOADING, _LOCKS = "entries", "loading", "locks"


def default_folder(needed: int) -> Path:
    """A folder in shared memory where so many bytes are free there, else among the temporary files.

    One that is in use already is used by all, whatever is free meanwhile. What a process left that was killed counts as
    free: whoever joins takes it away.
    """
    shared = SHARED_MEMORY / f"claimstream-{os.getuid()}"
    if _in_use(shared) or (SHARED_MEMORY.is_dir() and _free(SHARED_MEMORY, shared) >= needed):
        return shared
    return Path(tempfile.gettempdir()) / shared.name


class Pool:
    """Paths and locks of the shared folder. Raises UnavailableError when it cannot be used."""

    def __init__(self, folder: Path, needed: int, now: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.entries = folder / _ENTRIES
        self.loading = folder / _LOADING
        self._locks = folder / _LOCKS
        self._gate = _gate(folder)
        try:
            self._use = self._join(now)
        except OSError as error:
            raise UnavailableError(
                f"{folder}: models cannot be kept here: {error.strerror or error}; set cache.memory_folder to a folder "
                "of this user, best in shared memory"
            ) from error
        # Where others use it already, a disk that has filled up since costs copies; it must not cost this process.
        free = _free(folder, folder)
        if self._first and free < needed:
            self.close()
            raise UnavailableError(
                f"{folder}: {free} bytes are free, the budget is {needed}; lower cache.l1_memory_gb, make the file "
                "system larger (docker run --shm-size), or set cache.memory_folder to another"
            )

    def lock(self, name: str) -> Path:
        """File of the lock of that name."""
        return self._locks / name

    @contextmanager
    def accounts(self, guard: Guard) -> Iterator[None]:
        """Alone among all processes: to count, to decide, to reserve. Held for milliseconds.

        Raises what `guard` raises, when a process is stopped that holds it.
        """
        with FileLock.wait(self.lock("accounts"), guard.check):
            yield

    def close(self) -> None:
        """Leave; the last one out removes the folder."""
        self._use.release()
        if (alone := FileLock.attempt(self._gate, shared=False)) is not None:
            with alone, suppress(OSError):
                self._empty()
                self.folder.rmdir()

    def _join(self, now: Callable[[], float]) -> FileLock:
        """Hold the gate as one of many, then make the folder, which is this user's alone."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        late = UnavailableError(
            f"{self._gate}: a process holds this lock for {_JOIN_SECONDS:g} s, it may be stopped; end that process "
            f"(`fuser {self._gate}` tells which), or set cache.memory_folder to another folder"
        )
        check = patience(_JOIN_SECONDS, now, late)

        def again() -> None:
            check()
            self._empty_if_alone()

        self._first = self._is_first()
        lock = FileLock.wait(self._gate, again, shared=True)
        try:
            self._claim()
            for path in self._places:
                path.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            lock.release()
            raise
        return lock

    def _is_first(self) -> bool:
        """Looks more than once: others hold the lock for an instant to find out whether the folder is in use."""
        for _ in range(_LOOKS):
            if self._empty_if_alone():
                return True
            time.sleep(_INSTANT)
        return False

    def _claim(self) -> None:
        # Others that join may do the same at this moment.
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.folder.is_symlink() or self.folder.lstat().st_uid != os.getuid():
            raise PermissionError(1, "it belongs to another user, or is a link")

    def _empty_if_alone(self) -> bool:
        """Take nothing over from processes that are gone; whether nobody is there.

        Two that come at once may both do so: neither has begun.
        """
        if (alone := FileLock.attempt(self._gate, shared=False)) is None:
            return False
        with alone:
            self._claim()
            self._empty()
        return True

    def _empty(self) -> None:
        # Only what is the pool's own: the folder may be one that somebody uses for other things, too.
        for place in self._places:
            if place.exists():
                shutil.rmtree(place)

    @property
    def _places(self) -> tuple[Path, ...]:
        return self.entries, self.loading, self._locks


def _gate(folder: Path) -> Path:
    """Beside the folder, not in it: whoever comes while the last one out removes it waits until that is done."""
    return folder.with_name(f"{folder.name}.lock")


def _in_use(folder: Path) -> bool:
    """Whether a process watches over it. Others hold its lock for an instant to find out the same."""
    try:
        for _ in range(_LOOKS):
            if not _gate(folder).exists():
                return False
            if (alone := FileLock.attempt(_gate(folder), shared=False, create=False)) is not None:
                alone.release()
                return False
            time.sleep(_INSTANT)
    except OSError:
        # It is not ours to open: whoever joins is told why.
        pass
    return True


def _free(place: Path, folder: Path) -> int:
    """Bytes that are free at `place`, and those that the pool in `folder` has taken; what goes meanwhile counts not."""
    held = 0
    for part in (_ENTRIES, _LOADING):
        for file in (folder / part).glob("*/*"):
            with suppress(FileNotFoundError):
                held += file.stat().st_blocks * _BLOCK
    return shutil.disk_usage(place).free + held
