"""The shipped model on a CPU: the stage against the model alone, and latency at 70 % load."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.broker import loaded_broker
from bench.plots import latency_plot
from bench.report import Figure
from bench.windows import Route, Window, running, spread, stage, throughput
from stream.clock import SystemClock
from stream.demonstration.receiver import Receiver
from stream.topics import ensure_topics, stage_topics

_MODEL = "claims_filter_v2.1"
_LOAD = 0.7
_SETTLE = 3.0


def measure(*, quick: bool, plots: Path) -> list[Figure]:
    """`e2e_vs_offline` (one torch thread in both programs), and the latency of claims in a Poisson process."""
    window = Window(1.0, 4.0) if quick else Window(2.0, 10.0)
    with loaded_broker(200_000 if quick else 600_000) as route:
        contestant = stage(route, _MODEL, 1, 0)
        pairs = [
            (throughput(contestant, route, window), offline_speed(window.seconds))
            for _ in range(1 if quick else 3)
        ]
        shares = [ours / alone for ours, alone in pairs]
        speed = statistics.median(ours for ours, _ in pairs)
        latency = 1_000 * _latency(route, _LOAD * speed, seconds=8.0 if quick else 30.0)
    latency_plot(latency, plots / "latency-at-70.png")
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(latency, (50, 95, 99)))
    note = f"{_LOAD * speed:.0f} claims/s, Poisson, one worker"
    return [
        Figure("e2e_vs_offline", round(statistics.median(shares), 3), "x", "≥ 0.90", spread(shares)),
        Figure("e2e_claims_per_s", round(speed), "claims/s", "", spread([ours for ours, _ in pairs])),
        Figure("p50_at_70_ms", p50, "ms", "", note),
        Figure("p95_at_70_ms", p95, "ms", "", note),
        Figure("p99_at_70_ms", p99, "ms", "", note),
    ]


def offline_speed(seconds: float) -> float:
    """Claims a second of the model alone, at its best batch size."""
    command = [sys.executable, "-m", "bench.offline", _MODEL, str(seconds)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return max(float(value) for value in json.loads(answer.stdout).values())


def _latency(route: Route, rate: float, seconds: float) -> npt.NDArray[np.float64]:
    """Seconds from input timestamp to receipt of every claim, the first ones left out."""
    quiet = Route(route.bootstrap, "quiet-claims", "quiet-scores", "quiet-dead-letters", route.partitions)
    client = {"bootstrap.servers": route.bootstrap}
    ensure_topics(client, stage_topics(quiet.claims, quiet.scores, quiet.dead_letters, route.partitions, 1))
    receiver = Receiver(client, quiet.scores, SystemClock())
    receiver.start()
    claims = int(rate * seconds)
    with running(stage(quiet, _MODEL, 1, 0)):
        time.sleep(15.0)
        publish = ["publish", "--generate", str(claims), "--rate", f"{rate:.0f}", "--topic", quiet.claims]
        command = [sys.executable, "-m", "stream", *publish, "--bootstrap", route.bootstrap]
        subprocess.run(command, env=dict(os.environ), check=True, capture_output=True)
        deadline = time.monotonic() + 30.0
        while receiver.count < claims and time.monotonic() < deadline:
            time.sleep(0.1)
    receiver.stop()
    times = receiver.times()
    settled = times[times[:, 0] > times[:, 0].min() + min(_SETTLE, seconds / 4)]
    found: npt.NDArray[np.float64] = settled[:, 1] - settled[:, 0]
    return found
