"""The operator's endpoints."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.admin import AdminServer, application
from stream.errors import UsageError
from stream.metrics import StageMetrics


class State:
    ready = False
    healthy = True

    def __init__(self) -> None:
        self.orders: list[tuple[str, list[str]]] = []

    def view(self) -> dict[str, Any]:
        return {"tiers": []}

    def order(self, action: str, models: Sequence[str]) -> tuple[list[str], bool]:
        self.orders.append((action, list(models)))
        return [f"{name}: done" for name in models], "broken" not in models


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def address(state: State) -> Iterator[str]:
    metrics = StageMetrics()
    metrics.count("claims_consumed_total", 7)
    metrics.count("batches_closed_total", 2, "null", "size")
    metrics.observe("batch_size", np.array([1, 3, 5_000]), "null")
    app = application(
        metrics.snapshot,
        lambda: "" if state.ready else "workers are starting",
        lambda: state.healthy,
        state,
        lambda: {"on_time": 0.5, "workers": []},
        "a-token",
    )
    server = AdminServer(app, "127.0.0.1", 0)
    server.start()
    yield server.address
    server.stop()


def post(address: str, body: str, token: str | None) -> tuple[int, dict[str, Any]]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(address, body.encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_and_readiness_follow_the_workers(address: str, state: State) -> None:
    assert get(f"{address}/healthz") == (200, "healthy\n")
    assert get(f"{address}/readyz") == (503, "workers are starting\n")
    state.ready, state.healthy = True, False
    assert get(f"{address}/readyz") == (200, "ready\n")
    assert get(f"{address}/healthz") == (503, "no worker is alive\n")
    assert get(f"{address}/other")[0] == 404


def test_batching_is_told(address: str) -> None:
    assert json.loads(get(f"{address}/ml/batching")[1]) == {"on_time": 0.5, "workers": []}


def test_metrics_are_counters_and_classic_histograms(address: str) -> None:
    status, text = get(f"{address}/metrics")
    assert status == 200
    for line in (
        "claimstream_claims_consumed_total 7.0",
        'claimstream_batches_closed_total{model="null",reason="size"} 2.0',
        'claimstream_batch_size_bucket{le="1",model="null"} 1.0',
        'claimstream_batch_size_bucket{le="4",model="null"} 2.0',
        'claimstream_batch_size_bucket{le="+Inf",model="null"} 3.0',
        'claimstream_batch_size_sum{model="null"} 5004.0',
    ):
        assert line in text.splitlines()
    assert re.search(r'^claimstream_build_info\{version="[^"]+"\} 1\.0$', text, re.MULTILINE)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system does not tell of processes")
def test_metrics_tell_of_the_supervisor_as_a_process(address: str) -> None:
    text = get(f"{address}/metrics")[1]
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert re.search(rf"^{name} [\d.e+]+$", text, re.MULTILINE), name


def test_the_cache_tells_its_state(address: str) -> None:
    assert get(f"{address}/ml/cache/status") == (200, '{"tiers":[]}')


@pytest.mark.parametrize("action", ["preload", "evict"])
def test_orders_want_the_token(address: str, state: State, action: str) -> None:
    place, body = f"{address}/ml/cache/{action}", '{"models": ["claims_filter_v2.1"]}'
    for wrong in (None, "another", "a-toke", ""):
        status, answer = post(place, body, wrong)
        assert (status, state.orders) == (401, [])
        assert "http.token" in answer["error"]
    assert post(place, body, "a-token") == (
        200,
        {"action": action, "workers": ["claims_filter_v2.1: done"]},
    )
    assert state.orders == [(action, ["claims_filter_v2.1"])]
    assert post(place, '{"models": ["broken"]}', "a-token")[0] == 409
    assert get(place)[0] == 405


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"models": []}', '{"models": "a"}', '{"models": [1]}', "[" * 9_999]
)
def test_an_order_of_another_form_is_refused(address: str, state: State, body: str) -> None:
    status, answer = post(f"{address}/ml/cache/evict", body, "a-token")
    assert (status, state.orders) == (400, [])
    assert '{"models": ["claims_filter_v2.1"' in answer["error"]


def test_without_a_token_nobody_orders(state: State) -> None:
    server = AdminServer(
        application(StageMetrics().snapshot, str, lambda: True, state, dict, None), "127.0.0.1", 0
    )
    server.start()
    status, answer = post(f"{server.address}/ml/cache/evict", '{"models": ["a"]}', "")
    server.stop()
    assert (status, state.orders) == (403, [])
    assert "set http.token" in answer["error"]


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"cannot listen on 127\.0\.0\.1:{port}.*another http\.port"):
            AdminServer(
                application(StageMetrics().snapshot, str, lambda: True, State(), dict, None),
                "127.0.0.1",
                port,
            )


def test_an_address_of_ipv6_can_be_asked_as_it_is_shown(state: State) -> None:
    app = application(StageMetrics().snapshot, str, lambda: True, state, dict, None)
    try:
        server = AdminServer(app, "::1", 0)
    except UsageError:
        pytest.skip("this machine has no ::1")
    server.start()
    assert get(f"{server.address}/healthz")[0] == 200
    server.stop()


def test_a_host_without_an_address_is_named(state: State) -> None:
    app = application(StageMetrics().snapshot, str, lambda: True, state, dict, None)
    with pytest.raises(UsageError, match=r"no address is known for http\.host 'no\.such\.host\.invalid'"):
        AdminServer(app, "no.such.host.invalid", 0)
