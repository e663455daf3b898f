"""The repository as a tier: every byte checked, nothing followed, nothing thrown away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from models.digests import chunk_digest
from models.errors import (
    AbsentError,
    ArtifactError,
    LoadCancelledError,
    NoRoomError,
    UnreachableError,
)
from models.publishing import push
from models.release import Release, VersionKey
from models.repository import Repository
from models.tiers.repository import RepositoryTier
from models.tiers.sink import Sink
from tests.repositories import SHIPPED_VERSION, empty, flip, link, tree


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return empty(tmp_path)


class Free:
    """A guard that never ends a load, or does at the given check."""

    def __init__(self, checks: int = -1) -> None:
        self.checks = checks

    def check(self) -> None:
        self.checks -= 1
        if self.checks == -1:
            raise LoadCancelledError("given up")

    def remaining(self) -> float:
        return float("inf")


def chunks(release: Release, tier: RepositoryTier, guard: Free) -> dict[str, bytes]:
    files = {name: bytearray(file.bytes) for name, file in release.manifest.files.items()}

    def write(file: str, offset: int, chunk: memoryview) -> None:
        files[file][offset : offset + len(chunk)] = chunk

    sink = Sink(release, write)
    try:
        tier.read(release, sink, guard)
        sink.finish()
    finally:
        sink.close()
    return {name: bytes(content) for name, content in files.items()}


def test_the_tier_gives_checked_bytes(repository: Repository) -> None:
    release = repository.release("claims_filter", push(repository, SHIPPED_VERSION).key.version)
    tier = RepositoryTier(repository)
    found = chunks(release, tier, Free())
    assert {name: chunk_digest(content) for name, content in found.items()} == {
        name: file.blake3 for name, file in release.manifest.files.items()
    }
    (entry,) = tier.entries()
    assert (entry.key, entry.bytes, entry.hits) == (release.key, release.bytes, 1)
    assert tier.used() == release.bytes
    assert not tier.evict(release.key)
    assert tier.expire() == []


def test_a_walk_looks_at_the_root_as_often_for_many_versions(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        push(repository, SHIPPED_VERSION, version=version)
    looked, scan = list[Path](), os.scandir

    def counted(path: Path) -> object:
        looked.append(Path(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", counted)
    entries = RepositoryTier(repository).entries()
    assert [entry.key.version for entry in entries] == ["1.0.0", "1.1.0", "2.0.0"]
    assert looked.count(repository.root) == 2, "once for the mount, once for the names"
    assert len(looked) <= 5


def test_the_tier_stops_when_it_is_told_to(repository: Repository) -> None:
    release = repository.release("claims_filter", push(repository, SHIPPED_VERSION).key.version)
    with pytest.raises(LoadCancelledError):
        chunks(release, RepositoryTier(repository), Free(1))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: flip(path, -1), "its BLAKE3 is"),
        (lambda path: os.truncate(path, 10), "10 bytes, the manifest says"),
        (link, "links are not followed"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_the_tier_refuses_a_damaged_file_and_keeps_it(
    repository: Repository, spoil: object, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = push(repository, SHIPPED_VERSION)
    path = found.folder / "model.safetensors"
    path.chmod(0o644)
    spoil(path)  # type: ignore[operator]
    before = tree(repository.root)
    tier = RepositoryTier(repository)
    with pytest.raises(ArtifactError, match=said):
        chunks(repository.release("claims_filter", "2.1.0"), tier, Free())
    tier.purge(found.key)
    assert tree(repository.root) == before
    assert "push the same version again" in caplog.text


def test_the_tier_holds_exactly_the_content_that_is_asked_for(repository: Repository) -> None:
    release = repository.release("claims_filter", push(repository, SHIPPED_VERSION).key.version)
    tier = RepositoryTier(repository)
    assert tier.holds(release.key)
    assert not tier.holds(VersionKey("claims_filter", "2.1.0", "0" * 16))
    assert not tier.holds(VersionKey("claims_filter", "9.9.9", "0" * 16))
    shutil.rmtree(repository.root / "claims_filter")
    with pytest.raises(UnreachableError, match="mount the repository again"):
        chunks(release, tier, Free())
    (repository.root / "others").mkdir()
    with pytest.raises(AbsentError, match="push it"):
        chunks(release, tier, Free())


def test_the_tier_stores_by_publishing(repository: Repository, tmp_path: Path) -> None:
    release = Repository().release("claims_filter", "2.1.0")
    content = {name: memoryview((SHIPPED_VERSION / name).read_bytes()) for name in release.manifest.files}
    with pytest.raises(LoadCancelledError):
        RepositoryTier(repository).store(release, content, Free(1))
    assert tree(repository.root) == []
    for _ in range(2):
        RepositoryTier(repository).store(release, content, Free())
    assert repository.release("claims_filter", "2.1.0").key == release.key
    blocked = Repository(tmp_path / "file" / "inside", tmp_path / "nothing")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NoRoomError, match="cannot be written"):
        RepositoryTier(blocked).store(release, content, Free())
