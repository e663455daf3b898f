"""Locks between processes: a file's lock ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

_POLL_SECONDS = 0.005


class FileLock:
    """A held lock on one file (flock); shared by many, or exclusive."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def attempt(cls, path: Path, *, shared: bool, create: bool = True) -> FileLock | None:
        """The lock if it is free now. None when it is not, or when the file is gone and is not to be created.

        Raises OSError where it cannot be opened.
        """
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError:
            if create:
                raise
            return None
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # Whoever held it before may have removed the file: a lock on a name that leads elsewhere protects nothing.
        if os.fstat(descriptor).st_nlink == 0:
            os.close(descriptor)
            return None
        return cls(descriptor)

    @classmethod
    def wait(cls, path: Path, check: Callable[[], None], *, shared: bool = False) -> FileLock:
        """The lock as soon as it is free; `check` is called meanwhile and ends the wait by raising."""
        pause = threading.Event()
        while (lock := cls.attempt(path, shared=shared)) is None:
            check()
            pause.wait(_POLL_SECONDS)
        return lock

    def release(self) -> None:
        """Give it up; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def patience(seconds: float, now: Callable[[], float], late: Exception) -> Callable[[], None]:
    """A check for `FileLock.wait`: raises `late` once the wait has lasted so long."""
    until = now() + seconds

    def check() -> None:
        if now() > until:
            raise late

    return check
