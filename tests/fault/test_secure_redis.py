"""The model cache behind a Redis with a password, and behind TLS."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from models import CacheOptions, SyncModelCacheManager
from stream.embedded import EmbeddedRedis
from tests.certificates import Authority

pytestmark = pytest.mark.slow

PASSWORD = "Pa55 of:Redis/@"


class TlsDoor:
    """Takes TLS connections and passes their bytes on to a plain port: the server at hand speaks no TLS itself."""

    def __init__(self, certificate: Path, target: int) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with (
            suppress(OSError),
            self._context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self._target)) as server,
        ):
            threading.Thread(target=_pass_on, args=(server, client), daemon=True).start()
            _pass_on(client, server)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(password=PASSWORD) as started:
        yield started


@contextmanager
def cache(url: str, folder: Path) -> Iterator[SyncModelCacheManager]:
    manager = SyncModelCacheManager(options=CacheOptions(redis_url=url, memory_folder=folder, device="cpu"))
    try:
        yield manager
    finally:
        manager.close()


def served_by_redis(url: str, tmp_path: Path, within: float = 20.0) -> int:
    """Models that a second cache, with empty memory, gets from Redis, into which the first has so many seconds."""
    for name in ("first", "second"):
        with cache(url, tmp_path / name) as manager:
            manager.preload(["claims_filter_v2.1"])
            deadline = time.monotonic() + within
            while not in_redis(manager).used and time.monotonic() < deadline:
                time.sleep(0.05)
            served = int(in_redis(manager).served)
    return served


def in_redis(manager: SyncModelCacheManager) -> Any:
    (tier,) = [tier for tier in manager.status().tiers if tier.tier == "redis"]
    return tier


def test_a_password_with_any_characters_opens_it(server: EmbeddedRedis, tmp_path: Path) -> None:
    assert served_by_redis(f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/0", tmp_path) == 1


def test_tls_with_the_right_authority_opens_it(server: EmbeddedRedis, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    door = TlsDoor(authority.certificate("redis"), server.port)
    address = f"rediss://:{quote(PASSWORD, safe='')}@127.0.0.1:{door.port}/1?ssl_ca_certs="
    assert served_by_redis(f"{address}{authority.file}", tmp_path) == 1
    door.close()


@pytest.mark.parametrize("wrong", ["password", "authority"])
def test_a_wrong_password_or_authority_only_makes_the_start_slower_and_is_said(
    server: EmbeddedRedis, tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    door = TlsDoor(Authority(tmp_path).certificate("redis"), server.port)
    other = Authority(tmp_path, "another").file
    url = (
        f"redis://:Wr0ng@127.0.0.1:{server.port}/2"
        if wrong == "password"
        else f"rediss://:{quote(PASSWORD, safe='')}@127.0.0.1:{door.port}/2?ssl_ca_certs={other}"
    )
    assert served_by_redis(url, tmp_path, within=3.0) == 0
    assert "Redis" in caplog.text or "redis" in caplog.text
    assert "Wr0ng" not in caplog.text
    assert PASSWORD not in caplog.text
    door.close()
