"""A tier on a real Redis, small versions for it, and what stands between the two."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import redis

from bench.models_fixture import Unhurried, make_release
from models.breaker import Backoff
from models.digests import CHUNK_BYTES
from models.errors import LoadTimeoutError
from models.eviction import Rules
from models.release import Content, Release, VersionKey
from models.tiers.budget import Budget
from models.tiers.memory import Lifetime
from models.tiers.protocol import Worth
from models.tiers.redis import RedisTier
from models.tiers.sink import Sink

THREE_CHUNKS = 2 * CHUNK_BYTES + 1_000
HOURS = Lifetime(14_400.0, 3_600.0)
SOON = Backoff(first=0.05, longest=0.2)


@dataclass
class Impatient:
    """Ends a load at its so-manyeth check."""

    checks: int

    def check(self) -> None:
        self.checks -= 1
        if self.checks < 0:
            raise LoadTimeoutError("the guard's time is over")

    def remaining(self) -> float:
        return float("inf")


@dataclass
class Worths:
    """What the policy is told; others than those named are worth nothing."""

    of: dict[VersionKey, Worth] = field(default_factory=dict)

    def __call__(self, key: VersionKey) -> Worth:
        return self.of.get(key, Worth())


@functools.cache
def release(version: str = "1.0.0", weights: int = THREE_CHUNKS) -> tuple[Release, Content]:
    """The same one for the same arguments."""
    return make_release("model", version, {"weights.bin": weights, "vocabulary.json": 500, "empty": 0})


@contextmanager
def tier(
    url: str,
    *,
    limit: int = 100_000_000,
    worths: Worths | None = None,
    lifetime: Lifetime = HOURS,
    **more: Any,
) -> Iterator[RedisTier]:
    budget = Budget("cache.l2_redis_gb", Rules(limit), worths or Worths(), time.monotonic)
    made = RedisTier(url, budget, lifetime, time.monotonic, **{"backoff": SOON} | more)
    try:
        yield made
    finally:
        made.close()


def loaded(tier: RedisTier, release: Release, guard: Any = None) -> Mapping[str, bytearray]:
    """The files as the tier gives them."""
    into = {name: bytearray(file.bytes) for name, file in release.manifest.files.items()}

    def write(file: str, offset: int, chunk: memoryview) -> None:
        into[file][offset : offset + len(chunk)] = chunk

    with contextlib.closing(Sink(release, write)) as sink:
        tier.read(release, sink, guard or Unhurried())
    return into


def keys(url: str) -> list[str]:
    """What is ours in that Redis."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return sorted(client.scan_iter("claimstream:models:*"))


def chunks(url: str) -> list[str]:
    return [key for key in keys(url) if key.count(":") > 2]


class Proxy:
    """Stands before a server and passes on what it answers at `rate` bytes a second."""

    def __init__(self, port: int, rate: float) -> None:
        self._target = port
        self._rate = rate
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                threading.Thread(target=self._pass, args=(client, server, None), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, self._rate), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, rate: float | None) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                time.sleep(len(data) / rate if rate else 0.0)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
