"""The operator's endpoints."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest

from stream.admin import AdminServer, application
from stream.errors import UsageError
from stream.metrics import StageMetrics


class State:
    ready = False
    healthy = True


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def address(state: State) -> Iterator[str]:
    metrics = StageMetrics()
    metrics.count("claims_consumed_total", 7)
    metrics.count("batches_closed_total", 2, "null", "size")
    metrics.observe("batch_size", np.array([1, 3, 5_000]), "null")
    server = AdminServer(
        application(metrics.snapshot, lambda: state.ready, lambda: state.healthy), "127.0.0.1", 0
    )
    server.start()
    yield server.address
    server.stop()


def get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_and_readiness_follow_the_workers(address: str, state: State) -> None:
    assert get(f"{address}/healthz") == (200, "healthy\n")
    assert get(f"{address}/readyz")[0] == 503
    state.ready, state.healthy = True, False
    assert get(f"{address}/readyz") == (200, "ready\n")
    assert get(f"{address}/healthz") == (503, "no worker is alive\n")
    assert get(f"{address}/other")[0] == 404


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


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"cannot listen on 127\.0\.0\.1:{port}.*another http\.port"):
            AdminServer(application(StageMetrics().snapshot, lambda: True, lambda: True), "127.0.0.1", port)
