"""The Redis tier on a real Redis."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest
import redis

from bench.models_fixture import Unhurried
from models.errors import AbsentError, NoRoomError, TooLargeError, UnavailableError
from models.priority import ModelPriority
from models.release import Content, Release
from models.tiers import redis as module
from models.tiers.memory import Lifetime
from models.tiers.protocol import Worth
from models.tiers.redis import RedisTier
from tests.redis_fixture import HOURS, Worths, chunks, keys, loaded, release, tier


def milliseconds_left(url: str) -> list[int]:
    with redis.Redis.from_url(url) as client:
        return [client.pttl(key) for key in chunks(url)]


def in_threads(work: Callable[[], object], count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("connections", [1, 2, 4])
def test_what_was_stored_is_read_by_another_instance(redis_url: str, connections: int) -> None:
    version, content = release()
    with tier(redis_url, connections=connections) as one, tier(redis_url, connections=connections) as other:
        assert not other.holds(version.key)
        one.store(version, content, Unhurried())
        assert other.holds(version.key)
        assert loaded(other, version) == content
        (entry,) = one.entries()
        assert (entry.key, entry.hits, entry.leases) == (version.key, 1, 0)
        assert version.bytes <= entry.bytes == one.used() < 1.4 * version.bytes
        assert 0.0 <= entry.idle <= entry.age < 10.0


def test_a_version_of_nothing_but_empty_files_is_a_version(redis_url: str) -> None:
    version, content = release(weights=0)
    small = Release(
        version.key, version.manifest.model_copy(update={"files": {"empty": version.manifest.files["empty"]}})
    )
    with tier(redis_url) as redis_tier:
        redis_tier.store(small, {"empty": content["empty"]}, Unhurried())
        assert loaded(redis_tier, small) == {"empty": b""}
        assert redis_tier.expire() == []
        assert redis_tier.evict(small.key)


def test_another_content_of_the_same_version_is_another_entry(redis_url: str) -> None:
    (one, first), (two, second) = release(), release.__wrapped__()
    assert (one.key.version, one.key != two.key) == (two.key.version, True)
    with tier(redis_url) as redis_tier:
        redis_tier.store(one, first, Unhurried())
        with pytest.raises(AbsentError, match=r"model:1\.0\.0 is not in Redis; load it from the repository"):
            loaded(redis_tier, two)
        redis_tier.store(two, second, Unhurried())
        assert loaded(redis_tier, one) == first
        assert loaded(redis_tier, two) == second


def test_storing_again_changes_nothing(redis_url: str) -> None:
    version, content = release(weights=1_000)
    with tier(redis_url) as redis_tier:
        redis_tier.store(version, content, Unhurried())
        before = redis_tier.entries()[0]
        redis_tier.store(version, content, Unhurried())
        after = redis_tier.entries()[0]
        assert (after.age > before.age, redis_tier.used()) == (True, before.bytes)


def test_many_who_store_the_same_version_leave_one(redis_url: str) -> None:
    version, content = release()
    with tier(redis_url) as one, tier(redis_url) as other:
        tiers = [one, other] * 3
        in_threads(lambda: tiers.pop().store(version, content, Unhurried()), 6)
        assert one.used() == one.entries()[0].bytes < 1.4 * version.bytes
        assert len(chunks(redis_url)) == 4
        assert loaded(other, version) == content


def test_budget_holds_while_several_instances_store_different_versions(redis_url: str) -> None:
    versions = [release(f"1.0.{number}", weights=1_000_000) for number in range(8)]
    limit = 3_600_000
    with tier(redis_url, limit=limit) as one, tier(redis_url, limit=limit) as other:
        tiers = [one, other] * 4

        def store() -> None:
            each, (version, content) = tiers.pop(), todo.pop()
            with contextlib.suppress(NoRoomError):
                each.store(version, content, Unhurried())

        todo = list(versions)
        in_threads(store, 8)
        assert 0 < one.used() <= limit
        held = {entry.key for entry in one.entries()}
        assert len(chunks(redis_url)) == 2 * len(held)
        for version, content in versions:
            if version.key in held:
                assert loaded(other, version) == content


def test_what_is_worth_least_goes_and_a_pin_stays(redis_url: str) -> None:
    (pinned, a), (dear, b), (cheap, c), (new, d) = (release(f"1.0.{n}", weights=1_000_000) for n in range(4))
    worths = Worths(
        {
            pinned.key: Worth(pinned=True),
            dear.key: Worth(demand=1.0, cost=9.0),
            new.key: Worth(demand=1.0, cost=5.0),
        }
    )
    with tier(redis_url, limit=3_700_000, worths=worths) as redis_tier:
        for version, content in ((pinned, a), (dear, b), (cheap, c), (new, d)):
            redis_tier.store(version, content, Unhurried())
        assert {entry.key for entry in redis_tier.entries()} == {pinned.key, dear.key, new.key}
        assert not redis_tier.evict(pinned.key)
        assert not redis_tier.evict(cheap.key)
        assert redis_tier.evict(dear.key)
        assert len(chunks(redis_url)) == 4


def test_what_another_instance_holds_dearer_is_not_pushed_out(redis_url: str) -> None:
    (theirs, a), (mine, b) = release("1.0.0", weights=1_000_000), release("1.0.1", weights=1_000_000)
    important = Worths({theirs.key: Worth(priority=ModelPriority.CRITICAL)})
    eager = Worths({mine.key: Worth(demand=1.0, cost=100.0)})
    with tier(redis_url, worths=important) as other, tier(redis_url, limit=1_500_000, worths=eager) as one:
        other.store(theirs, a, Unhurried())
        with pytest.raises(NoRoomError, match=r"would not fit cache\.l2_redis_gb"):
            one.store(mine, b, Unhurried())
        assert [entry.key for entry in one.entries()] == [theirs.key]


def test_larger_than_the_budget_is_refused_and_nothing_goes_for_it(redis_url: str) -> None:
    (small, a), (large, b) = release("1.0.0", weights=1_000), release("1.0.1", weights=2_000_000)
    with tier(redis_url, limit=1_000_000) as redis_tier:
        redis_tier.store(small, a, Unhurried())
        before = keys(redis_url)
        with pytest.raises(TooLargeError, match=r"cache\.l2_redis_gb"):
            redis_tier.store(large, b, Unhurried())
        assert keys(redis_url) == before


def test_all_chunks_of_a_version_have_one_time_to_live_and_a_use_renews_it(redis_url: str) -> None:
    version, content = release()
    with tier(redis_url, lifetime=Lifetime(600.0, 60.0)) as redis_tier:
        redis_tier.store(version, content, Unhurried())
        time.sleep(0.05)
        worn = milliseconds_left(redis_url)
        assert len(worn) == 4
        assert max(worn) - min(worn) < 20
        assert 50_000 < min(worn) <= max(worn) < 60_000
        redis_tier.touch(version.key)
        assert min(milliseconds_left(redis_url)) > max(worn)
        (entry,) = redis_tier.entries()
        assert entry.idle < entry.age
        assert entry.hits == 0


def test_a_use_does_not_make_a_version_older_than_it_may_become(redis_url: str) -> None:
    version, content = release(weights=1_000)
    with tier(redis_url, lifetime=Lifetime(60.0, 3_600.0)) as redis_tier:
        redis_tier.store(version, content, Unhurried())
        redis_tier.touch(version.key)
        assert max(milliseconds_left(redis_url)) <= 60_000


def test_what_is_idle_too_long_expires_and_what_is_used_stays(redis_url: str) -> None:
    (idle, a), (used, b) = release("1.0.0", weights=1_000), release("1.0.1", weights=1_000)
    with tier(redis_url, lifetime=Lifetime(600.0, 0.4)) as redis_tier:
        redis_tier.store(idle, a, Unhurried())
        redis_tier.store(used, b, Unhurried())
        for _ in range(5):
            time.sleep(0.1)
            redis_tier.touch(used.key)
        assert not redis_tier.holds(idle.key)
        assert redis_tier.expire() == [idle.key]
        assert redis_tier.expire() == []
        assert loaded(redis_tier, used) == b
        assert len(chunks(redis_url)) == 2


def test_a_purge_leaves_nothing(redis_url: str) -> None:
    version, content = release()
    with tier(redis_url) as redis_tier:
        redis_tier.store(version, content, Unhurried())
        redis_tier.purge(version.key)
        assert (keys(redis_url), redis_tier.used(), redis_tier.holds(version.key)) == ([], 0, False)


def test_what_a_dead_writer_reserved_lapses_and_another_may_write(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, content = release()
    monkeypatch.setattr(module, "_RESERVATION_SECONDS", -0.4)
    with tier(redis_url) as dead, tier(redis_url) as other:
        assert reserved_and_half_written(dead, version, content)
        monkeypatch.setattr(module, "_RESERVATION_SECONDS", 10.0)
        other.store(version, content, Unhurried())
        assert (other.holds(version.key), other.used()) == (False, version.bytes)
        time.sleep(0.6)
        assert (other.used(), other.entries()) == (0, [])
        other.store(version, content, Unhurried())
        assert loaded(other, version) == content


def test_a_writer_that_was_overtaken_leaves_the_other_ones_work_alone(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, content = release()
    monkeypatch.setattr(module, "_RESERVATION_SECONDS", -0.7)
    with tier(redis_url) as slow, tier(redis_url) as other:
        send = slow._transfer.send

        def overtaken(*arguments: object) -> None:
            send(*arguments)  # type: ignore[arg-type]
            time.sleep(0.2)
            monkeypatch.setattr(module, "_RESERVATION_SECONDS", 10.0)
            other.store(version, content, Unhurried())

        monkeypatch.setattr(slow._transfer, "send", overtaken)
        with pytest.raises(NoRoomError, match="its reservation in Redis was lost"):
            slow.store(version, content, Unhurried())
        assert loaded(other, version) == content
        assert len(other.entries()) == 1


def test_keys_of_others_are_left_alone(redis_url: str) -> None:
    version, content = release(weights=1_000)
    with redis.Redis.from_url(redis_url) as client, tier(redis_url) as redis_tier:
        client.set("somebody:else", "1", ex=60)
        redis_tier.store(version, content, Unhurried())
        redis_tier.purge(version.key)
        assert client.get("somebody:else") == b"1"
        client.delete("somebody:else")


@pytest.mark.parametrize("url", ["127.0.0.1:6379", "redis://127.0.0.1:x", "redis://127.0.0.1?speed=high"])
def test_an_address_that_is_none_is_refused_by_its_setting(url: str) -> None:
    with pytest.raises(UnavailableError, match=r"^cache\.redis_url: "), tier(url):
        pytest.fail("it was accepted")


def reserved_and_half_written(dead: RedisTier, version: Release, content: Content) -> bool:
    """As much as a writer did before it was killed."""
    reservation = dead._reserve(version)
    assert reservation
    lapse = round((reservation.until - reservation.stored) * 1_000)
    dead._transfer.send(module.pieces(version)[:2], content, lapse, Unhurried())
    return HOURS.ttl > lapse / 1_000
