"""Redis dies, stalls, crawls, forgets, is full, or lies: each time a clear error in bounded time, and no remains."""

from __future__ import annotations

import contextlib
import logging
import pickle
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from bench.models_fixture import Unhurried
from models.breaker import Backoff
from models.digests import CHUNK_BYTES
from models.errors import (
    AbsentError,
    ArtifactError,
    LoadTimeoutError,
    NoRoomError,
    UnreachableError,
)
from models.release import Content, Release
from models.tiers.redis import RedisTier
from models.tiers.redis_index import INDEX
from models.tiers.redis_transfer import Transfer, pieces
from models.tiers.redis_wire import Pace, Patience, Session, TooSlowError
from models.tiers.sink import Sink
from stream.embedded import EmbeddedRedis
from tests.redis_fixture import Impatient, Proxy, chunks, keys, loaded, release, tier

LONG = Backoff(first=60.0)


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as started:
        yield started


@pytest.fixture
def server(running: EmbeddedRedis) -> Iterator[EmbeddedRedis]:
    yield running
    running.resume()
    with redis.Redis.from_url(running.url) as client:
        client.config_set("maxmemory", 0)
        client.flushall()


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def stored(redis_tier: RedisTier) -> tuple[Release, Content]:
    version, content = release()
    redis_tier.store(version, content, Unhurried())
    return version, content


def read_and(redis_tier: RedisTier, version: Release, happen: Callable[[], object]) -> None:
    """Read, and let something happen when the first chunk is there."""
    todo = [happen]

    def write(*_: object) -> None:
        if todo:
            todo.pop()()

    with contextlib.closing(Sink(version, write)) as sink:
        buffer = sink.buffer

        def slow(file: str, index: int) -> memoryview:
            while todo and sink._pending:
                time.sleep(0.001)
            return buffer(file, index)

        sink.buffer = slow  # type: ignore[method-assign]
        redis_tier.read(version, sink, Unhurried())


def overwrite(url: str, key: str, value: Any) -> None:
    with redis.Redis.from_url(url) as client:
        client.set(key, value)


def test_an_absent_redis_costs_one_wait_then_nothing_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    version, content = release(weights=1_000)
    with tier("redis://127.0.0.1:1", backoff=LONG) as redis_tier:
        with within(2.0):
            assert not redis_tier.holds(version.key)
        with within(0.1):
            assert not redis_tier.holds(version.key)
            assert (redis_tier.entries(), redis_tier.used(), redis_tier.expire()) == ([], 0, [])
            assert not redis_tier.evict(version.key)
            redis_tier.touch(version.key)
            redis_tier.purge(version.key)
            with pytest.raises(UnreachableError, match="left alone for another"):
                redis_tier.store(version, content, Unhurried())
            with pytest.raises(UnreachableError, match=r"start Redis there, or correct cache\.redis_url"):
                loaded(redis_tier, version)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "Redis at 127.0.0.1:1 is left alone for 60 s" in said[0]


def test_a_paused_redis_is_left_alone_and_used_again_when_it_goes_on(
    server: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    with tier(server.url) as redis_tier:
        version, content = stored(redis_tier)
        before = redis_tier.entries()
        server.pause()
        with within(3.0), pytest.raises(UnreachableError, match="did not answer in time"):
            loaded(redis_tier, version)
        with within(0.1):
            assert [entry.key for entry in redis_tier.entries()] == [entry.key for entry in before]
            assert redis_tier.used() == before[0].bytes
        server.resume()
        time.sleep(0.3)
        assert loaded(redis_tier, version) == content
    assert [record.getMessage() for record in caplog.records][-1].endswith(
        "answers again and is used from now on"
    )


def test_one_that_stalls_in_the_middle_is_given_up(server: EmbeddedRedis) -> None:
    with tier(server.url) as redis_tier:
        version, content = stored(redis_tier)
        with within(3.0), pytest.raises(UnreachableError, match=r"no bytes for 0\.5 s, or too few"):
            read_and(redis_tier, version, server.pause)
        server.resume()
        time.sleep(0.3)
        assert loaded(redis_tier, version) == content


def test_one_that_dies_in_the_middle_is_given_up_and_its_successor_is_used(server: EmbeddedRedis) -> None:
    with tier(server.url) as redis_tier:
        version, content = stored(redis_tier)
        with within(3.0), pytest.raises(UnreachableError, match="the cache goes on without it"):
            read_and(redis_tier, version, server.kill)
        server.start()
        time.sleep(0.3)
        with pytest.raises(AbsentError, match="load it from the repository"):
            loaded(redis_tier, version)
        redis_tier.store(version, content, Unhurried())
        assert loaded(redis_tier, version) == content


def test_one_that_crawls_is_given_up_long_before_the_end(server: EmbeddedRedis) -> None:
    proxy = Proxy(server.port, rate=4e6)
    with contextlib.closing(proxy), tier(server.url) as near, tier(proxy.url, backoff=LONG) as far:
        version, _ = stored(near)
        assert far.holds(version.key)
        with within(3.0), pytest.raises(UnreachableError, match=r"slower than the 25 MB/s|too few"):
            loaded(far, version)
        with within(0.1), pytest.raises(UnreachableError, match="left alone"):
            loaded(far, version)
        assert near.holds(version.key)


def test_one_that_is_slow_by_agreement_is_waited_for(server: EmbeddedRedis) -> None:
    proxy = Proxy(server.port, rate=30e6)
    patient = Patience(rate=2e6)
    with contextlib.closing(proxy), tier(server.url) as near, tier(proxy.url, patience=patient) as far:
        version, content = stored(near)
        assert loaded(far, version) == content


def test_what_is_flushed_in_the_middle_is_absent_and_leaves_nothing(server: EmbeddedRedis) -> None:
    with tier(server.url, connections=1) as redis_tier, redis.Redis.from_url(server.url) as client:
        version, content = release(weights=50_000_000)
        redis_tier.store(version, content, Unhurried())
        with pytest.raises(AbsentError, match=r"is gone; what was left of it is removed"):
            read_and(redis_tier, version, client.flushall)
        assert (keys(server.url), redis_tier.used()) == ([], 0)


@pytest.mark.parametrize("ask", ["read", "touch", "expire"])
def test_a_version_that_lost_a_chunk_goes_as_a_whole(server: EmbeddedRedis, ask: str) -> None:
    with tier(server.url) as redis_tier, redis.Redis.from_url(server.url) as client:
        version, _ = stored(redis_tier)
        client.delete(chunks(server.url)[1])
        if ask == "read":
            with pytest.raises(AbsentError, match="1 of its 4 chunks are gone"):
                loaded(redis_tier, version)
        elif ask == "touch":
            redis_tier.touch(version.key)
        else:
            assert redis_tier.expire() == [version.key]
        assert (client.dbsize(), redis_tier.used(), redis_tier.holds(version.key)) == (0, 0, False)


def test_full_without_eviction_refuses_by_maxmemory_and_what_was_there_stays() -> None:
    with EmbeddedRedis(maxmemory=30_000_000) as server, tier(server.url) as redis_tier:
        small, a = release("1.0.0", weights=8_000_000)
        large, b = release("1.0.1", weights=40_000_000)
        redis_tier.store(small, a, Unhurried())
        before = keys(server.url), redis_tier.used()
        assert len(before[0]) == 3
        with (
            within(5.0),
            pytest.raises(NoRoomError, match=r"maxmemory is reached; raise .* or lower cache\.l2_redis_gb"),
        ):
            redis_tier.store(large, b, Unhurried())
        assert (keys(server.url), redis_tier.used()) == before
        assert loaded(redis_tier, small) == a


def test_a_full_one_can_still_be_read(server: EmbeddedRedis) -> None:
    with (
        EmbeddedRedis() as server,
        tier(server.url) as redis_tier,
        redis.Redis.from_url(server.url) as client,
    ):
        version, content = stored(redis_tier)
        client.config_set("maxmemory", 1_000_000)
        assert loaded(redis_tier, version) == content
        redis_tier.touch(version.key)
        redis_tier.purge(version.key)
        assert client.dbsize() == 0


def test_one_that_evicts_while_it_is_written_to_is_refused_by_maxmemory() -> None:
    with EmbeddedRedis(maxmemory=24_000_000, policy="allkeys-lru") as server, tier(server.url) as redis_tier:
        version, content = release(weights=60_000_000)
        with within(5.0), pytest.raises(NoRoomError, match=r"maxmemory is|its maxmemory"):
            redis_tier.store(version, content, Unhurried())
        assert (keys(server.url), redis_tier.used()) == ([], 0)


@pytest.mark.parametrize("lost", ["a chunk", "everything"])
def test_what_vanishes_while_it_is_written_is_never_there(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    version, content = release()
    with tier(server.url) as redis_tier, redis.Redis.from_url(server.url) as client:
        send, measured = redis_tier._transfer.send, redis_tier._measured

        def sent(*arguments: Any) -> None:
            send(*arguments)
            if lost == "everything":
                client.flushall()

        def counted(*arguments: Any) -> int:
            size = measured(*arguments)
            client.delete(chunks(server.url)[0])
            return size

        monkeypatch.setattr(redis_tier._transfer, "send", sent)
        monkeypatch.setattr(redis_tier, "_measured", counted if lost == "a chunk" else measured)
        with pytest.raises(NoRoomError, match="raise maxmemory above"):
            redis_tier.store(version, content, Unhurried())
        assert (client.dbsize(), redis_tier.used()) == (0, 0)


def test_a_guard_that_ends_a_read_passes_and_the_next_read_is_whole(server: EmbeddedRedis) -> None:
    with tier(server.url, backoff=LONG) as redis_tier:
        version, content = stored(redis_tier)
        with pytest.raises(LoadTimeoutError, match="the guard's time is over"):
            loaded(redis_tier, version, Impatient(3))
        assert loaded(redis_tier, version) == content


def test_a_guard_that_ends_a_store_leaves_nothing(server: EmbeddedRedis) -> None:
    version, content = release()
    with tier(server.url, backoff=LONG) as redis_tier:
        with pytest.raises(LoadTimeoutError, match="the guard's time is over"):
            redis_tier.store(version, content, Impatient(3))
        assert (keys(server.url), redis_tier.used()) == ([], 0)


class Bomb:
    """What makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_a_pickle_of_the_right_size_is_refused_unread(server: EmbeddedRedis, tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    pickle.loads(bomb)
    assert (tmp_path / "exploded").exists()
    (tmp_path / "exploded").unlink()
    with tier(server.url) as redis_tier, redis.Redis.from_url(server.url) as client:
        version, content = release()
        redis_tier.store(version, content, Unhurried())
        for key in chunks(server.url):
            client.set(key, bomb.ljust(client.strlen(key), b"\0"))
        with pytest.raises(ArtifactError, match=r"BLAKE3 is .* load it from the repository"):
            loaded(redis_tier, version)
        assert (client.dbsize(), redis_tier.used()) == (0, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [lambda value: value + b"x", lambda value: value[:-1], lambda _: b""])
def test_a_value_of_another_length_is_refused(
    server: EmbeddedRedis, change: Callable[[bytes], bytes]
) -> None:
    with tier(server.url) as redis_tier, redis.Redis.from_url(server.url) as client:
        version, content = stored(redis_tier)
        key = chunks(server.url)[1]
        value = client.get(key)
        assert value
        client.set(key, change(value), keepttl=True)
        with (
            within(3.0),
            pytest.raises(ArtifactError, match=rf"{key} has \d+ bytes, the manifest says {len(value)}"),
        ):
            loaded(redis_tier, version)
        assert (client.dbsize(), redis_tier.used()) == (0, 0)
        redis_tier.store(version, content, Unhurried())
        assert loaded(redis_tier, version) == content


def test_a_key_of_another_kind_is_refused(server: EmbeddedRedis) -> None:
    with tier(server.url) as redis_tier, redis.Redis.from_url(server.url) as client:
        version, _ = stored(redis_tier)
        key = chunks(server.url)[0]
        client.delete(key)
        client.rpush(key, b"item")
        with pytest.raises(ArtifactError, match="another kind of value than bytes"):
            loaded(redis_tier, version)
        assert (client.dbsize(), redis_tier.used()) == (0, 0)


def test_an_index_that_somebody_else_wrote_to_is_cleaned(
    server: EmbeddedRedis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    with tier(server.url) as redis_tier, redis.Redis.from_url(server.url) as client:
        version, content = stored(redis_tier)
        (own,) = client.hkeys(INDEX)
        size = redis_tier.used()
        client.hset(
            INDEX,
            mapping={b"model:9.9.9:abc": bomb, b"\xff\xfe": b"{}", b"../../etc": client.hget(INDEX, own)},
        )
        client.hset("claimstream:models:used", own, bomb)
        client.hset("claimstream:models:hits", own, "nan")
        assert redis_tier.used() == size
        assert loaded(redis_tier, version) == content
        redis_tier.expire()
        assert client.hkeys(INDEX) == [own]
        assert redis_tier.entries()[0].hits == 1
    assert "is not an entry of the cache and is removed" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_an_index_of_another_kind_is_an_error_that_says_what_to_delete(server: EmbeddedRedis) -> None:
    version, content = release(weights=1_000)
    overwrite(server.url, INDEX, "text")
    with tier(server.url) as redis_tier, pytest.raises(UnreachableError, match=r"delete these keys"):
        redis_tier.store(version, content, Unhurried())


def test_a_password_that_is_missing_is_an_error_that_names_the_setting() -> None:
    version, content = release(weights=1_000)
    with EmbeddedRedis() as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "secret")
        with (
            tier(server.url) as redis_tier,
            pytest.raises(UnreachableError, match=r"(?i)auth.*cache\.redis_url"),
        ):
            redis_tier.store(version, content, Unhurried())
        with tier(server.url.replace("//", "//:secret@")) as redis_tier:
            redis_tier.store(version, content, Unhurried())
            assert loaded(redis_tier, version) == content


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"$3\r\nabcde", "goes on after its 3 bytes"),
        (b"$4\r\nabcd\r\n", "has 4 bytes, the manifest says 3"),
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1 400 Bad Request"),
        (b"$3\r\nab", "it closed the connection"),
    ],
)
def test_what_does_not_speak_like_redis_is_refused(reply: bytes, error: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(reply)
        theirs.shutdown(socket.SHUT_WR)
        session = Session(SimpleNamespace(stream=ours), 0.5)
        with pytest.raises(Exception, match=error):
            session.receive("key", memoryview(bytearray(3)), Pace(Patience(), 1, Unhurried(), lambda: 0.0))


def test_a_local_stall_is_not_held_against_redis() -> None:
    now, (version, _) = 100.0, release()
    wanted = pieces(version)
    content = {name: memoryview(bytearray(file.bytes)) for name, file in version.manifest.files.items()}

    class Stalled:
        """Digests and writes take far longer than Redis may."""

        def buffer(self, file: str, index: int) -> memoryview:
            nonlocal now
            now += 60.0
            return content[file][index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]

        def put(self, *_: object) -> None:
            nonlocal now
            now += 60.0

    class Prompt:
        def ask(self, key: str) -> None: ...

        def receive(self, _: str, into: memoryview, pace: Pace) -> bool:
            assert pace.wait() > 0.0
            pace.moved(len(into))
            return True

    wire: Any = SimpleNamespace(patience=Patience(), session=lambda: contextlib.nullcontext(Prompt()))
    Transfer(wire, 1, lambda: now).fetch(wanted, Stalled(), Unhurried())  # type: ignore[arg-type]
    assert now == 100.0 + 120.0 * len(wanted)


def test_the_pace_is_that_of_a_share_of_the_rate_after_a_silence_at_first() -> None:
    now = 100.0
    pace = Pace(Patience(silence=0.5, rate=20e6), 2, Unhurried(), lambda: now)
    assert pace.wait() == 0.5
    now = 100.4
    assert pace.wait() == pytest.approx(0.1)
    pace.moved(1_000_000)
    assert pace.wait() == pytest.approx(0.2)
    now = 100.7
    with pytest.raises(TooSlowError, match="after 1000000 bytes it was slower than the 10 MB/s"):
        pace.wait()
    pace.moved(100_000_000)
    assert pace.wait() == 0.5
