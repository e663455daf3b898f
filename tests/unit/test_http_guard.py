"""What a client of the endpoints may cost: slow, large and many."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from stream import http_guard
from stream.admin import AdminServer, application
from stream.metrics import StageMetrics
from tests.stage import await_that

PATIENCE = 0.4
ORDER = b"POST /ml/cache/evict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token\r\n"


class Desk:
    def view(self) -> dict[str, Any]:
        return {"much": "x" * 30_000_000}

    def order(self, *_: object) -> tuple[list[str], bool]:
        return ["done"], True


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(http_guard, "PATIENCE_SECONDS", PATIENCE)
    app = application(StageMetrics().snapshot, str, lambda: True, Desk(), dict, "a-token")
    server = AdminServer(app, "127.0.0.1", 0)
    server.start()
    yield int(server.address.rpartition(":")[2])
    server.stop()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def answer(port: int, request: bytes) -> bytes:
    with connected(port) as client:
        client.sendall(request)
        return client.recv(4_096)


def seconds_until_cut(client: socket.socket, *trickle: bytes) -> float:
    """Sends the pieces, one every tenth of a second, until the other side has enough."""
    started = time.monotonic()
    client.settimeout(0.1)
    pieces = iter(trickle)
    while time.monotonic() - started < 5:
        try:
            if (piece := next(pieces, None)) is not None:
                client.sendall(piece)
            if client.recv(1_000) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - started


def is_served(client: socket.socket) -> bool:
    """Whether the server, which is of this process, has the other end of the connection open."""
    here = client.getsockname()[1]
    ends = psutil.Process().net_connections("tcp")
    return any(end.raddr and end.raddr.port == here for end in ends)


def test_who_says_nothing_is_cut_off(port: int) -> None:
    with connected(port) as client:
        assert PATIENCE - 0.1 < seconds_until_cut(client) < 3


def test_who_trickles_headers_or_a_body_is_cut_off_however_busy(port: int) -> None:
    with connected(port) as client:
        assert seconds_until_cut(client, b"GET /healthz HTTP/1.1\r\n", *[b"a: b\r\n"] * 40) < 3
    with connected(port) as client:
        assert seconds_until_cut(client, ORDER + b"Content-Length: 100\r\n\r\n", *[b"{"] * 40) < 3


def test_who_is_slow_only_in_a_second_request_is_cut_off(port: int) -> None:
    with connected(port) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1_000).startswith(b"HTTP/1.1 200")
        assert seconds_until_cut(client, *[b"G"] * 40) < 3


def test_who_does_not_take_the_answer_is_cut_off(port: int) -> None:
    with connected(port) as client:
        client.sendall(b"GET /ml/cache/status HTTP/1.1\r\nHost: x\r\n\r\n")
        await_that(lambda: is_served(client), 20)
        await_that(lambda: not is_served(client), 20)
        taken = 0
        with suppress(ConnectionResetError):
            while part := client.recv(1_000_000):
                taken += len(part)
        assert taken < 30_000_000


def test_who_asks_on_and_takes_no_answer_is_cut_off(port: int) -> None:
    request = b"GET /ml/cache/status HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(port) as client:
        with suppress(OSError):
            for _ in range(20):
                client.sendall(request)
                time.sleep(PATIENCE / 10)
        await_that(lambda: not is_served(client), 3)


def test_who_sends_half_a_body_behind_a_request_is_cut_off(port: int) -> None:
    with connected(port) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + ORDER + b"Content-Length: 100\r\n\r\n{")
        assert seconds_until_cut(client) < 3


def test_an_answer_that_is_left_lying_holds_no_connection_though_it_closes(port: int) -> None:
    transport = SimpleNamespace(is_closing=lambda: True)
    calls: list[float] = []
    protocol = http_guard.GuardedProtocol.__new__(http_guard.GuardedProtocol)
    protocol.transport, protocol.server_state = transport, SimpleNamespace(total_requests=0)  # type: ignore[assignment]
    protocol.loop = SimpleNamespace(call_later=lambda seconds, _: calls.append(seconds))  # type: ignore[assignment]
    protocol.on_response_complete()
    assert calls == [PATIENCE]


def test_a_long_answer_that_is_taken_comes_whole(port: int) -> None:
    with connected(port) as client:
        client.sendall(b"GET /ml/cache/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        taken = 0
        while part := client.recv(1_000_000):
            taken += len(part)
        assert taken > 30_000_000


def test_bodies_and_headers_have_a_length(port: int) -> None:
    large = b" " * (http_guard.BODY_BYTES + 1)
    head = ORDER + b"Content-Length: %d\r\n\r\n"
    assert answer(port, head % len(large) + large).startswith(b"HTTP/1.1 413")
    chunks = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    assert answer(port, ORDER + b"Transfer-Encoding: chunked\r\n\r\n" + 3 * chunks).startswith(
        b"HTTP/1.1 413"
    )
    good = b'{"models": ["a"]}'
    assert answer(port, head % len(good) + good).startswith(b"HTTP/1.1 200")
    wide = b"GET /healthz HTTP/1.1\r\nx: " + b"y" * http_guard.HEADER_BYTES + b"\r\n\r\n"
    assert answer(port, wide).startswith(b"HTTP/1.1 4")


def held(ports: list[int]) -> int:
    """How many connections from these ports the server has open."""
    ends = psutil.Process().net_connections("tcp")
    return sum(bool(end.raddr) and end.raddr.port in ports and end.status == "ESTABLISHED" for end in ends)


def test_strangers_who_hold_every_connection_and_come_again_keep_no_probe_out(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_guard, "PATIENCE_SECONDS", 60.0)
    strangers = []
    for number in range(3 * http_guard.CONNECTIONS):
        strangers.append(stranger := connected(port))
        stranger.sendall(b"GET /healthz HTTP/1.1\r\n"[: number % 9])
        if number % 16 == 0:
            assert answer(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200")
    ports = [stranger.getsockname()[1] for stranger in strangers]
    await_that(lambda: held(ports) < http_guard.CONNECTIONS, 3)
    for stranger in strangers:
        stranger.close()


def test_a_request_that_is_worked_on_gives_way_to_nobody(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, free = threading.Event(), threading.Event()

    def order(*_: object) -> tuple[list[str], bool]:
        entered.set()
        return ["done"], free.wait(20)

    monkeypatch.setattr(Desk, "order", order)
    body = b'{"models": ["a"]}'
    with connected(port) as client:
        client.sendall(ORDER + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert entered.wait(5)
        strangers = [connected(port) for _ in range(2 * http_guard.CONNECTIONS)]
        assert answer(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200")
        free.set()
        assert client.recv(4_096).startswith(b"HTTP/1.1 200")
    for stranger in strangers:
        stranger.close()
