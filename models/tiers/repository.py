"""The repository as the last tier: unbounded, the truth; every chunk of it is checked like any other."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from models.artifact import opened
from models.digests import spans
from models.errors import (
    AbsentError,
    ArtifactError,
    ModelError,
    NoRoomError,
    PublishError,
    UnknownModelError,
    UnreachableError,
)
from models.manifest import FileEntry
from models.publishing import publish
from models.release import Content, Release, VersionKey
from models.repository import Repository
from models.tiers.protocol import Entry, Guard, TierName
from models.tiers.sink import Sink

log = logging.getLogger(__name__)


class RepositoryTier:
    """Versions in the folders of a repository. It never evicts: `claimstream models remove` and `gc` do."""

    name = TierName.REPOSITORY
    budget: int | None = None

    def __init__(self, repository: Repository, wall: Callable[[], float] = time.time) -> None:
        self._repository = repository
        self._wall = wall
        self._hits: Counter[VersionKey] = Counter()

    def used(self) -> int:
        return sum(entry.bytes for entry in self.entries())

    def entries(self) -> list[Entry]:
        return [entry for folder in self._repository.walk() if (entry := self._entry(folder))]

    def holds(self, key: VersionKey) -> bool:
        """Whether it has that very content. Raises UnreachableError, or ManifestError for a damaged manifest."""
        try:
            return self._repository.release(key.name, key.version).key == key
        except UnknownModelError:
            return False

    def read(self, release: Release, sink: Sink, guard: Guard) -> None:
        """Give the chunks to `sink`, which checks them beside the reading.

        Raises AbsentError; ArtifactError for a link, a special file or one of another size, before anything of it is
        read; UnreachableError; whatever `guard` and `sink` raise passes through.
        """
        if not self.holds(release.key):
            raise AbsentError(f"{release.key} is not in the repository, or with other content; push it")
        self._hits[release.key] += 1
        folder = self._repository.folder(release.key)
        for name, file in release.manifest.files.items():
            descriptor = opened(folder.parent.parent, folder.parent.name, folder.name, name, size=file.bytes)
            try:
                _send(descriptor, name, file, sink, guard)
            except OSError as error:
                raise UnreachableError(
                    f"{folder / name}: cannot be read: {error.strerror}; look at the disk"
                ) from error
            finally:
                os.close(descriptor)

    def store(self, release: Release, content: Content, guard: Guard) -> None:
        """Publish a version. Raises NoRoomError, or PublishError where another content has its number."""

        def fill(folder: Path) -> None:
            for name, data in content.items():
                _write(folder / name, data, guard)

        try:
            publish(self._repository, release, fill)
        except PublishError as error:
            if isinstance(error.__cause__, OSError):
                raise NoRoomError(str(error)) from error
            raise

    def evict(self, key: VersionKey) -> bool:  # noqa: ARG002 - the signature is every tier's
        """Never: what is here may be the only copy."""
        return False

    def purge(self, key: VersionKey) -> None:
        """Keep the bad copy, which may be the only one, and say how to mend it; each read finds it bad anew."""
        log.error(
            "%s: damaged in the repository; it stays as it is: push the same version again, which replaces what is "
            "damaged, and see `claimstream models verify %s`",
            key,
            key,
        )

    def touch(self, key: VersionKey) -> None:
        """Note the use for garbage collection, at most once an hour."""
        self._repository.note_use(key)

    def expire(self) -> list[VersionKey]:
        """Nothing expires here."""
        return []

    def close(self) -> None:
        """Nothing is held open."""

    def _entry(self, folder: Path) -> Entry | None:
        try:
            release = self._repository.read(folder)
            published, used = self._repository.times_of(folder)
        except (ModelError, OSError) as error:
            log.warning("%s:%s: not usable: %s", folder.parent.name, folder.name, error)
            return None
        now = self._wall()
        hits = self._hits[release.key]
        return Entry(
            release.key, release.bytes, now - published, now - used, hits, leases=0, load_seconds=0.0
        )


def _send(descriptor: int, name: str, file: FileEntry, sink: Sink, guard: Guard) -> None:
    for index, (start, _) in enumerate(spans(file.bytes)):
        guard.check()
        chunk = sink.buffer(name, index)
        _fill(descriptor, chunk, start)
        sink.put(name, index, chunk)


def _fill(descriptor: int, chunk: memoryview, offset: int) -> None:
    position = 0
    while position < len(chunk):
        count = os.preadv(descriptor, [chunk[position:]], offset + position)
        if count == 0:
            raise ArtifactError(
                f"a file of the repository ended at byte {offset + position}; push the version anew"
            )
        position += count


def _write(path: Path, data: memoryview, guard: Guard) -> None:
    with path.open("xb") as file:
        for start, end in spans(len(data)):
            guard.check()
            file.write(data[start:end])
