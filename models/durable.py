"""Files and folders that are there as a whole or not at all, a power cut included."""

from __future__ import annotations

import os
import stat
import uuid
from pathlib import Path

_READABLE = 0o444


def write(path: Path, content: bytes, *, for_all: bool = False) -> None:
    """Replace a file: written aside, synced, renamed. What was there stays when this raises OSError.

    `for_all`: other users may read it, whatever the umask is.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write_new(aside, content)
        if for_all:
            aside.chmod(stat.S_IMODE(aside.stat().st_mode) | _READABLE)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_new(path: Path, content: bytes) -> None:
    """A file that was not there, synced."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """What was written to a file stays so."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """What was created or renamed in a folder stays so."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
