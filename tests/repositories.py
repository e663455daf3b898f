"""A repository of its own for a test, and what spoils one."""

from __future__ import annotations

import json
from pathlib import Path

from models.housekeeping import Housekeeping
from models.publishing import push
from models.repository import SHIPPED, Repository

SHIPPED_VERSION = SHIPPED / "claims_filter" / "2.1.0"


class Clock:
    """Says what it is told to."""

    def __init__(self, time: float) -> None:
        self.time = time

    def __call__(self) -> float:
        return self.time


def empty(folder: Path) -> Repository:
    """A repository in a folder, beside which nothing ships."""
    (folder / "repository").mkdir()
    return Repository(folder / "repository", folder / "nothing")


def pushed(repository: Repository, *versions: str) -> Repository:
    for version in versions:
        push(repository, SHIPPED_VERSION, version=version)
    return repository


def keeping(repository: Repository, wall: float = 1e9) -> Housekeeping:
    return Housekeeping(repository, Clock(wall), Clock(0.0))


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def edited(folder: Path, **changes: object) -> None:
    document = json.loads((folder / "manifest.json").read_text()) | changes
    (folder / "manifest.json").write_text(json.dumps(document))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def link(path: Path) -> None:
    path.rename(path.with_suffix(".aside"))
    path.symlink_to(path.with_suffix(".aside"))
