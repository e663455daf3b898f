"""A model out of Redis: loaded and verified by the tier, against a bare socket that reads the same bytes."""

from __future__ import annotations

import mmap
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.models_fixture import Unhurried, make_release
from bench.report import Figure, spread
from models.eviction import Rules
from models.release import Release
from models.tiers.budget import Budget
from models.tiers.memory import Lifetime
from models.tiers.pool import SHARED_MEMORY
from models.tiers.protocol import Worth
from models.tiers.redis import RedisTier
from models.tiers.redis_transfer import Piece, pieces
from models.tiers.sink import Sink
from stream.embedded import EmbeddedRedis

CONNECTIONS = 2
_FILE = "weights.bin"


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of each program, one after the other."""

    plain: float
    single: float
    tier: float


def measure_redis(*, quick: bool) -> list[Figure]:
    """`load_redis_vs_socket`: both write to a new file in shared memory; the programs take turns."""
    size, rounds = (200_000_000, 3) if quick else (1_200_000_000, 7)
    release, content = make_release("bench", "1.0.0", {_FILE: size})
    with EmbeddedRedis() as server, closing(_tier(server.url, size)) as tier:
        tier.store(release, content, Unhurried())
        loads = [_round(tier, release, server.port) for _ in range(rounds)]
    shares = [each.plain / each.tier for each in loads]
    speeds = [size / each.tier / 1e9 for each in loads]
    return [
        Figure(
            "load_redis_vs_socket",
            statistics.median(shares),
            "x",
            "≥ 0.8",
            f"{spread(shares)}; {size / 1e9:g} GB, {CONNECTIONS} connections each; the bare socket reads "
            f"{spread([size / each.plain / 1e9 for each in loads])} GB/s, over one connection "
            f"{spread([size / each.single / 1e9 for each in loads])}",
        ),
        Figure("load_redis_gb_per_s", statistics.median(speeds), "GB/s", "", spread(speeds)),
        *(_milliseconds(megabytes, rounds) for megabytes in ((10,) if quick else (10, 850, 1_200))),
    ]


def _milliseconds(megabytes: int, rounds: int) -> Figure:
    """A verified load of one size, nothing taking turns with it."""
    release, content = make_release("bench", "1.0.0", {_FILE: megabytes * 1_000_000})
    with EmbeddedRedis() as server, closing(_tier(server.url, 2 * release.bytes)) as tier:
        tier.store(release, content, Unhurried())
        times = [1_000 * _timed(lambda path: _verified(path, tier, release)) for _ in range(rounds)]
    return Figure(
        f"load_redis_{megabytes}mb_ms",
        statistics.median(times),
        "ms",
        "",
        f"{spread(times)}; user asked < 10 from L2",
    )


def _round(tier: RedisTier, release: Release, port: int) -> Round:
    wanted = pieces(release)
    return Round(
        _timed(lambda path: _plain(path, release, wanted, port, CONNECTIONS)),
        _timed(lambda path: _plain(path, release, wanted, port, 1)),
        _timed(lambda path: _verified(path, tier, release)),
    )


def _timed(load: Callable[[Path], None]) -> float:
    """Seconds to fill a new file; to remove it costs extra."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        path = Path(folder) / _FILE
        started = time.perf_counter()
        load(path)
        return time.perf_counter() - started


def _verified(path: Path, tier: RedisTier, release: Release) -> None:
    """As the tier of RAM takes what Redis gives."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.truncate(descriptor, release.bytes)
        with closing(Sink(release, lambda _, offset, chunk: _write(descriptor, chunk, offset))) as sink:
            tier.read(release, sink, Unhurried())
            sink.finish()
    finally:
        os.close(descriptor)


def _write(descriptor: int, chunk: memoryview, offset: int) -> None:
    if os.pwrite(descriptor, chunk, offset) != len(chunk):
        raise OSError(f"shared memory took less than {len(chunk)} bytes")


def _plain(path: Path, release: Release, wanted: Sequence[Piece], port: int, connections: int) -> None:
    """No checks, no limits: every byte straight into the mapped file."""
    with _mapped(path, release.bytes) as area:
        threads = [
            threading.Thread(target=_receive, args=(port, wanted[first::connections], area))
            for first in range(connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _receive(port: int, wanted: Sequence[Piece], area: memoryview) -> None:
    """One connection; the next chunk is asked for before the last one is there, as the tier does."""
    trailer = memoryview(bytearray(2))
    with socket.create_connection(("127.0.0.1", port)) as stream:
        _ask(stream, wanted[:2])
        for at, piece in enumerate(wanted):
            _fill(stream, memoryview(bytearray(len(b"$%d\r\n" % (piece.end - piece.start)))))
            _fill(stream, area[piece.start : piece.end])
            _fill(stream, trailer)
            _ask(stream, wanted[at + 2 : at + 3])


def _ask(stream: socket.socket, wanted: Sequence[Piece]) -> None:
    for piece in wanted:
        key = piece.key.encode()
        stream.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key))


def _fill(stream: socket.socket, view: memoryview) -> None:
    while view:
        if (got := stream.recv_into(view)) == 0:
            raise ConnectionError("Redis closed the connection")
        view = view[got:]


@contextmanager
def _mapped(path: Path, size: int) -> Iterator[memoryview]:
    with path.open("w+b") as file:
        file.truncate(size)
        with mmap.mmap(file.fileno(), size) as area, memoryview(area) as view:
            yield view


def _tier(url: str, size: int) -> RedisTier:
    budget = Budget("the budget of Redis", Rules(2 * size), lambda _: Worth(), time.monotonic)
    return RedisTier(url, budget, Lifetime(14_400.0, 3_600.0), time.monotonic, connections=CONNECTIONS)
