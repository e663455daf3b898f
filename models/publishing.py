"""Versions come, whole or not at all, and go."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from models import durable
from models.artifact import opened
from models.digests import chunks_of, digest_chunks
from models.errors import ArtifactError, ManifestError, PublishError
from models.locks import FileLock
from models.manifest import FILE, Manifest, checked, digest, encoded, read_bytes, read_manifest
from models.release import Release, VersionKey
from models.repository import Repository
from models.verification import Advance, Place, check_digests, damaged, measured

PUSH = ".push-"
LOCK_SUFFIX = ".lock"

_READ_ONLY = 0o444
_OPEN_TO_READERS = 0o755
_THERE = (errno.ENOTEMPTY, errno.EEXIST)


class Outcome(StrEnum):
    """What a push did."""

    PUBLISHED = "published"
    ALREADY_THERE = "already there"
    REPAIRED = "repaired"


@dataclass(frozen=True, slots=True)
class Pushed:
    """A version that is in the repository now, and what that took."""

    key: VersionKey
    folder: Path
    outcome: Outcome


def push(
    repository: Repository, folder: Path, *, version: str | None = None, advance: Advance = lambda _: None
) -> Pushed:
    """Publish the version in `folder`, under another number if `version` says so.

    A version never changes: with equal content nothing happens, but that damaged files are replaced. Raises
    ManifestError or ArtifactError for what is wrong in `folder`, PublishError with the repository as it was.
    """
    source, draft = Place(folder), read_manifest(folder)
    changes = {"version": version or draft.version, "bytes": measured(source, draft).model_dump()}
    manifest = checked(draft.model_dump() | changes, folder / FILE)
    key = VersionKey(manifest.name, manifest.version, digest(encoded(manifest)))
    outcome = publish(
        repository, Release(key, manifest), lambda aside: _copy(source, manifest, aside, advance)
    )
    return Pushed(key, repository.folder(key), outcome)


def publish(repository: Repository, release: Release, fill: Callable[[Path], None]) -> Outcome:
    """Have `fill` write the files into a folder aside, and rename that to the version's place.

    Raises PublishError, or what `fill` raises; then the repository is as it was.
    """
    root = writable_root(repository)
    if digest(encoded(release.manifest)) != release.key.digest:
        raise PublishError(
            f"{release.key}: its manifest was not written by claimstream; push it from its folder"
        )
    with _writing(root, str(release.key)):
        root.mkdir(parents=True, exist_ok=True)
    if (there := repository.place(release.key.name, release.key.version)) is not None:
        _check_same(there, release)
        if not any(damaged(Place.of_version(there), release.manifest)):
            return Outcome.ALREADY_THERE
    with _writing(root, str(release.key)), _aside(root) as folder:
        fill(folder)
        durable.write_new(folder / FILE, encoded(release.manifest))
        _seal(folder)
        return _settle(root, release, folder)


def writable_root(repository: Repository) -> Path:
    """Where versions go. Raises PublishError when only what ships is there."""
    if repository.root is None:
        raise PublishError(
            "there is no repository to write to; name its folder (--repository, or CLAIMSTREAM_CACHE__REPOSITORY)"
        )
    return repository.root


def sweep(root: Path, before: float, *, dry_run: bool = False) -> list[Path]:
    """Half pushes of before a moment whose writers are gone: removed, or with `dry_run` only found."""
    found = []
    for path in sorted(root.glob(f"{PUSH}*")):
        folder = path.with_suffix("") if path.suffix == LOCK_SUFFIX else path
        with suppress(FileNotFoundError):
            if folder not in found and path.stat().st_mtime < before and _is_abandoned(folder):
                found.append(folder)
                if not dry_run:
                    discard(folder)
    return found


def discard(folder: Path) -> None:
    """Remove what nobody sees. Raises OSError."""
    if folder.exists():
        shutil.rmtree(folder)
    _lock_file(folder).unlink(missing_ok=True)


def _is_abandoned(folder: Path) -> bool:
    lock = FileLock.attempt(_lock_file(folder), shared=False, create=False)
    if lock is None:
        return not _lock_file(folder).exists()
    lock.release()
    return True


def _lock_file(folder: Path) -> Path:
    return folder.with_name(folder.name + LOCK_SUFFIX)


@contextmanager
def _writing(root: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PublishError(
            f"{what}: cannot be written to {root}: {error.strerror}; the repository is as it was: free space, permit "
            "writing, or name another with --repository"
        ) from error


@contextmanager
def _aside(root: Path) -> Iterator[Path]:
    """A folder that nobody sees, locked for as long as it is being filled; gone at the end unless renamed."""
    folder = root / f"{PUSH}{uuid.uuid4().hex}"
    lock = FileLock.attempt(_lock_file(folder), shared=False)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _lock_file(folder).unlink(missing_ok=True)
        if lock is not None:
            lock.release()


def _copy(source: Place, manifest: Manifest, aside: Path, advance: Advance) -> None:
    for name, file in manifest.files.items():
        descriptor = opened(source.anchor, *source.parts, name, size=file.bytes)
        with open(descriptor, "rb") as reader, (aside / name).open("xb") as writer:  # noqa: PTH123 - a descriptor

            def copied(chunks: Iterator[bytes], writer: BinaryIO = writer) -> Iterator[bytes]:
                for chunk in chunks:
                    writer.write(chunk)
                    yield chunk

            found = digest_chunks(copied(chunks_of(reader, advance)))
        check_digests(found, file, source.folder / name)


def _seal(folder: Path) -> None:
    """Read-only and synced, the folder itself last."""
    for path in folder.iterdir():
        path.chmod(_READ_ONLY)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    _open_to_readers(folder)
    durable.sync_folder(folder)


def _open_to_readers(folder: Path) -> None:
    """Whoever may read its files may look into it, whatever the umask was."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode | _OPEN_TO_READERS != mode:
        folder.chmod(mode | _OPEN_TO_READERS)


def _settle(root: Path, release: Release, aside: Path) -> Outcome:
    """Rename the folder to its place; where there is one with the same manifest, replace what is damaged in it."""
    place = root / release.key.name / release.key.version
    made = not place.parent.exists()
    place.parent.mkdir(exist_ok=True)
    if made:
        _open_to_readers(place.parent)
    try:
        aside.rename(place)
    except OSError as error:
        if made:
            with suppress(OSError):
                place.parent.rmdir()
        if error.errno not in _THERE:
            raise
        _check_same(place, release)
        return _repair(place, release, aside)
    durable.sync_folder(place.parent)
    durable.sync_folder(root)
    return Outcome.PUBLISHED


def _repair(place: Path, release: Release, aside: Path) -> Outcome:
    outcome = Outcome.ALREADY_THERE
    for name, file in release.manifest.files.items():
        only = release.manifest.model_copy(update={"files": {name: file}})
        if any(damaged(Place.of_version(place), only)):
            (aside / name).replace(place / name)
            outcome = Outcome.REPAIRED
    durable.sync_folder(place)
    return outcome


def _check_same(place: Path, release: Release) -> None:
    """Raises PublishError when a version is there with another manifest."""
    try:
        found = digest(read_bytes(place))
    except (ManifestError, ArtifactError) as error:
        raise PublishError(f"{release.key} is there, but {error}; remove it and push anew") from error
    if found != release.key.digest:
        raise PublishError(
            f"{release.key} is already there with other content ({found}, not {release.key.digest}); a published "
            "version never changes: push yours under another with --version"
        )
