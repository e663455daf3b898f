"""The repository's mount fails, as a whole or at one folder, while versions of it serve."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.assembly import Assembled, CacheOptions
from models.errors import UnreachableError
from models.housekeeping import Housekeeping
from models.repository import Repository
from models.resolver import Resolver
from models.supply import ModelSupply
from tests.cache_stage import CountedCache
from tests.repositories import Clock, keeping

FAILURES = [errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.EACCES]


class Mount:
    """Looks at what lies under one folder fail as they do on a mount that is away."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.away: Path | None = None
        self.code = errno.ESTALE
        for name in ("stat", "lstat", "scandir"):
            patch.setattr(os, name, self._failing(getattr(os, name)))

    def _failing(self, look: Callable[..., Any]) -> Callable[..., Any]:
        def looked(path: Any, *given: Any, **named: Any) -> Any:
            if self.away is not None and not isinstance(path, int) and self._is_there(os.fspath(path)):
                raise OSError(self.code, os.strerror(self.code), path)
            return look(path, *given, **named)

        return looked

    def _is_there(self, path: str) -> bool:
        return path == str(self.away) or path.startswith(f"{self.away}{os.sep}")


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Mount:
    return Mount(monkeypatch)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CountedCache]:
    made = CountedCache(tmp_path)
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def supply(cache: CountedCache, clock: Clock) -> Iterator[ModelSupply]:
    parts = Assembled(cache, Resolver(cache.repository, clock), cache.appraisals, cache.repository, "cpu")
    made = ModelSupply(parts, CacheOptions())
    yield made
    made.close()


@pytest.mark.parametrize("code", FAILURES)
def test_a_mount_that_fails_is_an_unreachable_repository(
    cache: CountedCache, mount: Mount, code: int
) -> None:
    cache.publish("a")
    mount.away, mount.code = cache.repository.root, code
    for look in (cache.repository.names, lambda: cache.repository.resolve("a")):
        with pytest.raises(
            UnreachableError, match=r"repository: the repository cannot be read: .*; mount it"
        ):
            look()


@pytest.mark.parametrize("code", FAILURES)
def test_aliases_that_cannot_be_read_are_an_unreachable_repository(
    cache: CountedCache, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    cache.publish("a")
    promoted(cache, "1.0.0")

    def read(_: Path) -> bytes:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(UnreachableError, match="the repository cannot be read"):
        Repository(cache.repository.root, cache.repository.shipped).aliases("a")


@pytest.mark.parametrize("code", FAILURES)
def test_what_was_resolved_goes_on_while_the_mount_fails(
    cache: CountedCache, supply: ModelSupply, mount: Mount, clock: Clock, code: int
) -> None:
    cache.publish("a")
    before = supply.shares("a")
    supply.begin(before[0][0]).take().release()
    mount.away, mount.code = cache.repository.root, code
    for _ in range(3):
        assert supply.shares("a") == before
        supply.begin(before[0][0]).take().release()
        clock.time += 2.0
    mount.away = None
    cache.publish("a", "1.1.0")
    assert [key.version for key, _ in supply.shares("a")] == ["1.1.0"]


def test_a_mount_that_fails_before_anything_was_resolved_says_so(
    cache: CountedCache, supply: ModelSupply, mount: Mount
) -> None:
    mount.away = cache.repository.root
    with pytest.raises(UnreachableError, match="the repository cannot be read"):
        supply.shares("a")


def test_a_version_that_cannot_be_looked_at_goes_on_and_no_other_takes_its_place(
    cache: CountedCache,
    supply: ModelSupply,
    mount: Mount,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for version in ("1.0.0", "1.1.0"):
        cache.publish("a", version)
    before = supply.shares("a")
    mount.away, mount.code = cache.repository.root / "a" / "1.1.0", errno.EACCES
    clock.time += 2.0
    assert [key.version for key, _ in before] == ["1.1.0"]
    assert supply.shares("a") == before
    assert f"{mount.away}: the repository cannot be read: Permission denied" in caplog.text


def test_a_new_version_that_cannot_be_looked_at_is_named_and_leaves_the_others(
    cache: CountedCache, supply: ModelSupply, mount: Mount
) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        cache.publish("a", version)
    promoted(cache, "1.0.0")
    mount.away = cache.repository.root / "a" / "1.2.0"
    with pytest.raises(UnreachableError, match=r"/a/1\.2\.0: the repository cannot be read"):
        supply.shares("a")
    for name, version in (("a:production", "1.0.0"), ("a:1.1.0", "1.1.0"), ("a_v1.0", "1.0.0")):
        assert [key.version for key, _ in supply.shares(name)] == [version]


def test_what_ships_does_not_take_the_place_of_a_version_that_cannot_be_looked_at(
    cache: CountedCache, mount: Mount
) -> None:
    cache.publish("a")
    shutil.copytree(cache.repository.root, cache.repository.shipped)
    both = Repository(cache.repository.root, cache.repository.shipped)
    assert both.place("a", "1.0.0") == cache.repository.root / "a" / "1.0.0"
    mount.away = cache.repository.root / "a" / "1.0.0"
    with pytest.raises(UnreachableError, match=r"/a/1\.0\.0: the repository cannot be read"):
        both.place("a", "1.0.0")


def promoted(cache: CountedCache, version: str) -> Housekeeping:
    keeper = keeping(cache.repository)
    keeper.promote("a", version, "production")
    return keeper
