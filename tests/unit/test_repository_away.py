"""The repository's mount fails, as a whole or at one folder, while versions of it serve."""

from __future__ import annotations

import errno
import os
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


def promoted(cache: CountedCache, version: str) -> Housekeeping:
    keeper = keeping(cache.repository)
    keeper.promote("a", version, "production")
    return keeper
