"""The pool and the memory tier where others stand still, or what lies there is not what was put there."""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.errors import LoadTimeoutError, UnavailableError
from models.locks import FileLock
from models.release import Release
from models.tiers.pool import Pool, default_folder
from models.tiers.protocol import TierName
from tests.cache_stage import SIZE, CountedCache
from tests.redis_fixture import Impatient

BOUNDED_SECONDS = 5.0


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CountedCache]:
    made = CountedCache(tmp_path)
    yield made
    made.close()


@pytest.fixture
def kept(cache: CountedCache) -> Release:
    """A version that is in memory and nowhere nearer."""
    release = cache.publish("a")
    cache.get(release, 10.0).release()
    assert cache.tiers.device.evict(release.key)
    return release


def entry(folder: Path, release: Release) -> Path:
    return folder / "pool" / "entries" / release.key.folder


def held(path: Path) -> FileLock:
    """The lock as a process holds it that is stopped."""
    lock = FileLock.attempt(path, shared=False)
    assert lock is not None
    return lock


def test_accounts_that_another_holds_are_waited_for_as_long_as_the_load_may_last(tmp_path: Path) -> None:
    cache = CountedCache(tmp_path)
    release = cache.publish("a")
    with held(tmp_path / "pool" / "locks" / "accounts"), pytest.raises(LoadTimeoutError):
        cache.tiers.memory.store(release, {}, Impatient(3))
    assert cache.tiers.memory.used() == 0
    cache.close()


def test_a_gate_that_another_holds_is_not_waited_for_without_end(tmp_path: Path) -> None:
    clock = itertools.count(0.0, 3.0)
    with (
        held(tmp_path / "pool.lock"),
        pytest.raises(
            UnavailableError, match=r"/pool\.lock: a process holds this lock for 10 s.*end that process"
        ),
    ):
        Pool(tmp_path / "pool", 0, clock.__next__)
    Pool(tmp_path / "pool", 0).close()


def test_what_a_killed_process_left_does_not_keep_from_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, temporary = tmp_path / "shm", tmp_path / "tmp"
    shared.mkdir()
    monkeypatch.setattr("models.tiers.pool.SHARED_MEMORY", shared)
    monkeypatch.setattr("models.tiers.pool.tempfile.gettempdir", lambda: str(temporary))
    monkeypatch.setattr("models.tiers.pool.shutil.disk_usage", lambda _: SimpleNamespace(free=1_000))
    folder = default_folder(1_000)
    assert folder.parent == shared
    assert default_folder(1_001).parent == temporary
    left = folder / "entries" / "killed"
    left.mkdir(parents=True)
    (left / "weights").write_bytes(bytes(8_192))
    folder.with_name(f"{folder.name}.lock").touch(mode=0o600)
    # Whoever joins takes away what was left, so that counts as free.
    assert [default_folder(needed).parent for needed in (9_000, 10_000)] == [shared, temporary]
    pool = Pool(folder, 0)
    assert default_folder(10**18) == folder
    pool.close()
    assert default_folder(10**18).parent == temporary


def test_an_entry_without_its_lock_is_loaded_again(
    cache: CountedCache, kept: Release, tmp_path: Path
) -> None:
    (entry(tmp_path, kept) / ".lease.lock").unlink()
    lease = cache.get(kept, 10.0)
    assert (lease.source, cache.tiers.memory.used()) == (TierName.REPOSITORY, SIZE)
    lease.release()


def test_an_entry_without_its_lock_makes_room_for_others(
    cache: CountedCache, kept: Release, tmp_path: Path
) -> None:
    (entry(tmp_path, kept) / ".lease.lock").unlink()
    cache.get(cache.publish("b"), 10.0).release()
    assert cache.tiers.memory.used() == SIZE


def test_an_entry_that_another_holds_costs_the_sharing_and_not_the_load(
    cache: CountedCache, kept: Release, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    with held(entry(tmp_path, kept) / ".lease.lock"), caplog.at_level(logging.WARNING):
        lease = cache.get(kept, 30.0)
        assert time.monotonic() - started < BOUNDED_SECONDS
        assert (lease.source, cache.private_bytes) == (TierName.REPOSITORY, SIZE)
        lease.release()
    assert "a process holds this lock that may be stopped; end it" in caplog.text


@pytest.mark.parametrize("damage", ["shorter", "longer", "missing", "one more"])
def test_an_entry_that_is_not_what_the_manifest_says_is_loaded_again(
    cache: CountedCache, kept: Release, tmp_path: Path, damage: str
) -> None:
    weights = entry(tmp_path, kept) / "weights.bin"
    weights.chmod(0o600)
    if damage == "missing":
        weights.unlink()
    elif damage == "one more":
        weights.with_name("vocabulary.json").write_text("[]")
    else:
        os.truncate(weights, SIZE + (-1 if damage == "shorter" else 1))
    lease = cache.get(kept, 10.0)
    published = (cache.repository.folder(kept.key) / "weights.bin").read_bytes()
    assert bytes(lease.model.content["weights.bin"]) == published  # type: ignore[attr-defined]
    assert (lease.source, cache.tiers.memory.used()) == (TierName.REPOSITORY, SIZE)
    lease.release()


@pytest.mark.parametrize("name", ["lease.lock", "entry.json"])
def test_a_file_of_a_model_has_whatever_name_the_manifest_may_give_it(cache: CountedCache, name: str) -> None:
    release = cache.publish("a", files=("weights.bin", name))
    cache.get(release, 10.0).release()
    assert cache.tiers.device.evict(release.key)
    lease = cache.get(release, 10.0)
    published = (cache.repository.folder(release.key) / name).read_bytes()
    assert bytes(lease.model.content[name]) == published  # type: ignore[attr-defined]
    assert (lease.source, cache.private_bytes) == (TierName.MEMORY, 0)
    assert cache.tiers.memory.used() == 2 * SIZE
    lease.release()


@pytest.mark.parametrize("stray", ["stray", "a-1.0.0-0123456789abcdef"])
def test_a_stray_file_among_the_entries_is_left_alone(
    cache: CountedCache, kept: Release, tmp_path: Path, stray: str
) -> None:
    (tmp_path / "pool" / "entries" / stray).write_bytes(b"not ours")
    cache.get(cache.publish("b"), 10.0).release()
    memory = cache.tiers.memory
    assert {entry.key.name for entry in memory.entries()} == {"a", "b"}
    assert (memory.used(), memory.expire()) == (2 * SIZE, [])
    assert (tmp_path / "pool" / "entries" / stray).exists()


@pytest.mark.parametrize("name", [".lease.lock", ".entry.json"])
@pytest.mark.parametrize("obstacle", ["a folder", "a link to itself"])
def test_a_bad_entry_keeps_no_other_from_the_pool(
    cache: CountedCache, kept: Release, tmp_path: Path, name: str, obstacle: str
) -> None:
    path = entry(tmp_path, kept) / name
    path.unlink()
    if obstacle == "a folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    lease = cache.get(cache.publish("b"), 10.0)
    assert (lease.source, cache.private_bytes) == (TierName.REPOSITORY, 0)
    assert "b" in {each.key.name for each in cache.tiers.memory.entries()}
    assert cache.tiers.memory.expire() == []
    lease.release()


def test_an_entry_that_may_not_be_entered_keeps_no_other_from_the_pool(
    cache: CountedCache, kept: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut, look = entry(tmp_path, kept), os.stat

    def refused(path: Any, *given: Any, **named: Any) -> os.stat_result:
        if not isinstance(path, int) and Path(path).parent == shut:
            raise PermissionError(13, "Permission denied", path)
        return look(path, *given, **named)

    monkeypatch.setattr(os, "stat", refused)
    lease = cache.get(cache.publish("b"), 10.0)
    assert (lease.source, cache.private_bytes) == (TierName.REPOSITORY, 0)
    assert [each.key.name for each in cache.tiers.memory.entries()] == ["b"]
    lease.release()


def test_who_joins_beside_another_finds_what_that_one_has(tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    one = Pool(folder, 0)
    (one.entries / "mark").mkdir()
    other = Pool(folder, 0)
    assert (other.entries / "mark").exists()
    one.close()
    other.close()
