"""Aliases change and versions go, one command at a time, so that none loses what another did."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from models import durable
from models.aliases import LATEST, WHOLE, Aliases, promoted, rolled_back, write_aliases
from models.errors import PublishError
from models.locks import FileLock, patience
from models.manifest import NAME_PATTERN
from models.publishing import PUSH, discard, sweep, writable_root
from models.repository import Repository, Target

DAY = 86_400.0

_LOCK = ".lock"
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Unused:
    """A version that may go: nothing names it, and nobody used it for so many days."""

    name: str
    version: str
    bytes: int
    days: float


@dataclass(frozen=True, slots=True)
class Collected:
    """What garbage collection removed, or would have; half pushes are folders that nobody saw."""

    versions: list[Unused]
    half_pushes: list[str]


class Housekeeping:
    """Changes a repository that must not be changed by two at once. `wall` is the time since the epoch."""

    def __init__(self, repository: Repository, wall: Callable[[], float], now: Callable[[], float]) -> None:
        self._repository = repository
        self._root = writable_root(repository)
        self._wall = wall
        self._now = now

    def promote(self, name: str, version: str, alias: str, weight: int = WHOLE) -> Target:
        """Let an alias mean a version, or give that `weight` percent of it. Raises UnknownModelError, PublishError."""
        _check_alias(alias)
        with self._alone():
            self._repository.release(name, version)
            aliases = promoted(self._repository.aliases(name), alias, version, weight, self._moment())
            self._keep(name, aliases)
        return self._repository.resolve(f"{name}:{alias}")

    def rollback(self, name: str, alias: str) -> Target:
        """Let an alias mean what it meant before its last promotion. Raises UnknownModelError, PublishError."""
        with self._alone():
            if not (versions := self._repository.versions(name)):
                self._repository.resolve(name)
            aliases = rolled_back(self._repository.aliases(name), alias)
            if missing := aliases.aliases[alias].now.shares.keys() - set(versions):
                raise PublishError(
                    f"{name}:{alias} meant {', '.join(sorted(missing))}, which was removed; "
                    "push it again or promote another"
                )
            self._keep(name, aliases)
        return self._repository.resolve(f"{name}:{alias}")

    def remove(self, name: str, version: str) -> None:
        """Take a version away. Raises UnknownModelError, or PublishError when an alias names it or it ships."""
        with self._alone():
            self._remove(name, version)

    def collect(self, days: float, *, dry_run: bool = False) -> Collected:
        """Remove what was not used for so many days and nothing names; never the newest of a model."""
        with self._alone():
            unused = list(self._unused(days))
            if not dry_run:
                for found in unused:
                    self._remove(found.name, found.version)
            swept = sweep(self._root, self._wall() - DAY, dry_run=dry_run)
        return Collected(unused, [folder.name for folder in swept])

    def _unused(self, days: float) -> Iterator[Unused]:
        for name in self._repository.names():
            newest = self._repository.versions(name)[-1]
            kept = self._repository.aliases(name).protected() | {newest}
            for version in self._repository.owned(name):
                idle = (self._wall() - self._repository.times(name, version)[1]) / DAY
                if version not in kept and idle >= days:
                    yield Unused(name, version, _size(self._root / name / version), idle)

    def _remove(self, name: str, version: str) -> None:
        # What lacks its manifest serves nobody, whatever names it.
        if not self._repository.lacks_manifest(name, version):
            self._check_free(name, version)
        gone = self._root / f"{PUSH}{uuid.uuid4().hex}"
        (self._root / name / version).rename(gone)
        durable.sync_folder(self._root / name)
        self._repository.forget_use(name, version)
        discard(gone)
        with suppress(OSError):
            (self._root / name).rmdir()

    def _check_free(self, name: str, version: str) -> None:
        """Raises UnknownModelError, or PublishError when an alias names it or it ships."""
        if version not in self._repository.owned(name):
            self._repository.release(name, version)
            raise PublishError(
                f"{name}:{version} ships with claimstream and stays; push a newer one beside it"
            )
        if named := self._repository.aliases(name).naming(version):
            raise PublishError(
                f"{name}:{version} is what {', '.join(named)} means; promote another version or roll back, "
                "then remove it"
            )

    def _keep(self, name: str, aliases: Aliases) -> None:
        (self._root / name).mkdir(exist_ok=True)
        write_aliases(self._root / name, aliases)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            with FileLock.wait(self._root / _LOCK, patience(_PATIENCE, self._now, self._late())):
                yield
        except OSError as error:
            raise PublishError(
                f"{self._root}: cannot be changed: {error.strerror}; what was there still is: free space, "
                "or permit writing"
            ) from error

    def _late(self) -> PublishError:
        return PublishError(
            f"{self._root}: another command changes it for {_PATIENCE:g} s; end that, try again"
        )

    def _moment(self) -> str:
        return datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="seconds")


def _check_alias(alias: str) -> None:
    if alias == LATEST or not re.fullmatch(NAME_PATTERN, alias):
        raise PublishError(
            f"{alias!r} is no name for an alias: lower-case letters, digits and _, and not {LATEST!r}"
        )


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.iterdir())
