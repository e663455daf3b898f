"""The whole cache while Redis is killed, stopped, emptied and poisoned."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from models.tiers.protocol import TierName
from models.tiers.redis import RedisTier
from stream.embedded import EmbeddedRedis
from tests.cache_stage import CountedCache
from tests.redis_fixture import chunks, tier

BOUNDED_SECONDS = 5.0


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as running:
        yield running


@pytest.fixture
def instance(server: EmbeddedRedis, tmp_path: Path) -> Iterator[Callable[[], CountedCache]]:
    """Makes instances that share a repository and a Redis, and nothing else."""
    made: list[CountedCache] = []
    with redis.Redis.from_url(server.url) as client, tier(server.url) as redis_tier:
        client.flushall()

        def make() -> CountedCache:
            folder = tmp_path / f"instance-{len(made)}"
            folder.mkdir()
            (tmp_path / "repository").mkdir(exist_ok=True)
            (folder / "repository").symlink_to(tmp_path / "repository")
            made.append(CountedCache(folder, redis=redis_tier))
            return made[-1]

        yield make
        for cache in made:
            cache.close()


def settled(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def source_of(cache: CountedCache, release: Any) -> str:
    started = time.monotonic()
    lease = cache.get(release, 30.0)
    assert time.monotonic() - started < BOUNDED_SECONDS
    assert (
        bytes(lease.model.content["weights.bin"])
        == (  # type: ignore[attr-defined]
            cache.repository.folder(release.key) / "weights.bin"
        ).read_bytes()
    )
    lease.release()
    return str(lease.source)


def test_one_instance_brings_it_to_redis_and_the_next_takes_it_from_there(
    instance: Callable[[], CountedCache], server: EmbeddedRedis
) -> None:
    first, second = instance(), instance()
    release = first.publish("a")
    assert source_of(first, release) == TierName.REPOSITORY
    settled(lambda: first.tiers.redis is not None and first.tiers.redis.holds(release.key))
    assert source_of(second, release) == TierName.REDIS


def test_poison_in_redis_is_never_unpickled_and_costs_only_the_copy(
    instance: Callable[[], CountedCache], server: EmbeddedRedis, tmp_path: Path
) -> None:
    first, second = instance(), instance()
    release = first.publish("a")
    source_of(first, release)
    settled(lambda: len(chunks(server.url)) == 1)
    witness = tmp_path / "unpickled"
    poison = pickle.dumps(_Touch(witness))
    with redis.Redis.from_url(server.url) as client:
        (key,) = chunks(server.url)
        client.set(key, poison.ljust(release.bytes, b"\0"), keepttl=True)
    assert source_of(second, release) == TierName.REPOSITORY
    assert not witness.exists()
    settled(lambda: len(chunks(server.url)) == 1)


@pytest.mark.parametrize("fault", ["flush", "pause", "kill"])
def test_a_redis_that_fails_costs_one_bounded_wait(
    instance: Callable[[], CountedCache], server: EmbeddedRedis, fault: str
) -> None:
    first, second = instance(), instance()
    release = first.publish("a")
    source_of(first, release)
    settled(lambda: first.tiers.redis is not None and first.tiers.redis.holds(release.key))
    try:
        if fault == "flush":
            with redis.Redis.from_url(server.url) as client:
                client.flushall()
        else:
            getattr(server, fault)()
        assert source_of(second, release) == TierName.REPOSITORY
        other = second.publish("b")
        assert source_of(second, other) == TierName.REPOSITORY
        second.maintain()
    finally:
        if fault == "pause":
            server.resume()
        if fault == "kill":
            server.stop()
            server.start()
    # What is on its way to Redis leases its bytes until that ends, one way or the other.
    settled(lambda: _emptied(first, release, other) and _emptied(second, release, other))


def _emptied(cache: CountedCache, *releases: Any) -> bool:
    for release in releases:
        cache.evict(release.key)
    return not any(cache.accounts().values())


def test_a_full_redis_keeps_nobody_from_loading(tmp_path: Path) -> None:
    with EmbeddedRedis(maxmemory=3_000_000) as small, tier(small.url) as redis_tier:
        assert isinstance(redis_tier, RedisTier)
        cache = CountedCache(tmp_path, redis=redis_tier)
        release = cache.publish("a", size=5_000_000)
        assert source_of(cache, release) == TierName.REPOSITORY
        cache.close()
        assert redis_tier.used() == 0
        assert chunks(small.url) == []


class _Touch:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)
