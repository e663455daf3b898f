"""Folders of a repository: what is not there is told apart from what cannot be looked at."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from models.errors import UnreachableError
from models.manifest import FILE, NAME_PATTERN, VERSION_PATTERN

NAME = re.compile(NAME_PATTERN)
VERSION = re.compile(VERSION_PATTERN)


def ordinal(version: str) -> tuple[int, ...]:
    """Orders versions as semantic versioning does."""
    return tuple(map(int, version.split(".")))


def is_there(path: Path) -> bool:
    """Whether something is there, be it a link that leads nowhere. Raises OSError where that cannot be told."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def names_in(places: Sequence[Path]) -> list[str]:
    """What is called as models are in any of the places. Raises UnreachableError."""
    return sorted(
        {entry.name for place in places for entry in entries_in(place) if NAME.fullmatch(entry.name)}
    )


def folders_of(places: Sequence[Path], name: str) -> dict[str, Path]:
    """Versions of a model, ascending, and where they are; of two places that have one the first counts."""
    found = {
        version: place / name / version for place in reversed(places) for version in versions_in(place / name)
    }
    return dict(sorted(found.items(), key=lambda each: ordinal(each[0])))


def versions_in(folder: Path) -> list[str]:
    """Folders that are called as versions are; others, such as one that is being written, do not count."""
    return [
        entry.name
        for entry in entries_in(folder)
        if VERSION.fullmatch(entry.name) and _is_version(Path(entry.path))
    ]


def _is_version(folder: Path) -> bool:
    """One that cannot be looked at counts: left out, another would take its place, and nobody would be told."""
    try:
        return is_there(folder / FILE)
    except OSError:
        return True


def entries_in(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder; nothing where there is none. Raises UnreachableError."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreachable(folder, error) from error


def is_folder(path: Path) -> bool:
    """Raises UnreachableError where that cannot be told."""
    try:
        return path.is_dir()
    except OSError as error:
        raise unreachable(path, error) from error


def unreachable(place: Path, error: OSError) -> UnreachableError:
    """What it means that the system cannot look at a place."""
    return UnreachableError(
        f"{place}: the repository cannot be read: {error.strerror}; mount it, or permit it"
    )
