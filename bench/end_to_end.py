"""The shipped model on a CPU: the stage against the model alone, and latency at 70 % load."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.broker import loaded_broker
from bench.load import await_scores, flood, publish_at_rate, receiving, warmed_up
from bench.offline import offline
from bench.plots import latency_plot
from bench.report import Figure, spread
from bench.windows import Meter, PausedStage, Route, Slices, running, stage

_MODEL = "claims_filter_v2.1"
_LOAD = 0.7
# A stage that stood still has heartbeats and fetches to catch up with; it stands shorter than its session lasts.
_SLICES = Slices(settle=2.5, seconds=4.0)
_QUICK_SLICES = Slices(settle=1.0, seconds=2.0)
_LEFT_OUT = 1.0
_FIRST_CLAIMS = 500


def measure(*, quick: bool, plots: Path) -> list[Figure]:
    """`e2e_vs_offline` (one torch thread in both programs), and the latency of claims in a Poisson process."""
    with loaded_broker(200_000 if quick else 2_000_000) as route:
        speeds, alone = _in_turn(route, _QUICK_SLICES, 2) if quick else _in_turn(route, _SLICES, 8)
        shares = [ours / theirs for ours, theirs in zip(speeds, alone, strict=True)]
        speed = statistics.median(speeds)
        capacity, seconds = _under_load(route, speed, seconds=3.0 if quick else 25.0)
    latency = 1_000 * seconds
    latency_plot(latency, plots / "latency-at-70.png")
    p50, p95, p99 = (float(value) for value in np.percentile(latency, (50, 95, 99)))
    note = f"{_LOAD * capacity:.0f} claims/s, Poisson; publisher, broker and receiver on the same cores"
    return [
        Figure(
            "e2e_vs_offline", statistics.median(shares), "x", "≥ 0.95", f"{spread(shares)}; out of a backlog"
        ),
        Figure("e2e_claims_per_s", speed, "claims/s", "", spread(speeds)),
        Figure("offline_claims_per_s", statistics.median(alone), "claims/s", "", spread(alone)),
        Figure(
            "loaded_claims_per_s",
            capacity,
            "claims/s",
            "",
            "while being published at the catch-up speed",
        ),
        Figure("p50_at_70_ms", p50, "ms", "", note),
        Figure("p95_at_70_ms", p95, "ms", "", note),
        Figure("p99_at_70_ms", p99, "ms", "", note),
    ]


def _in_turn(route: Route, slices: Slices, rounds: int) -> tuple[list[float], list[float]]:
    """Claims a second of the stage and of the model alone, slice by slice."""
    meter = Meter(route.bootstrap, route.scores, range(route.partitions))
    with running(stage(route, _MODEL, 1, 0)) as process, offline(_MODEL) as model:
        model.stop()
        meter.await_growth(0, 10_000, process.check)
        ours = PausedStage(process, meter)
        try:
            pairs = [(slices.speed(ours), slices.speed(model)) for _ in range(rounds)]
        finally:
            ours.go_on()
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]


def _under_load(route: Route, rate: float, seconds: float) -> tuple[float, npt.NDArray[np.float64]]:
    """Capacity while claims are being published on the same cores, and latencies (s) at 70 % of it."""
    quiet = Route(route.bootstrap, "quiet-claims", "quiet-scores", "quiet-dead-letters", route.partitions)
    receiver = receiving(quiet)
    with running(stage(quiet, _MODEL, 1, 0)) as process:
        warmed_up(quiet, receiver, _FIRST_CLAIMS, process.check)
        capacity = flood(quiet, receiver, rate, seconds, process.check)
        started = time.time()
        first = receiver.count
        sent = publish_at_rate(quiet, _LOAD * capacity, seconds)
        await_scores(receiver, first + sent, process.check)
    receiver.stop()
    times = receiver.times()
    settled = times[times[:, 0] > started + _LEFT_OUT]
    found: npt.NDArray[np.float64] = settled[:, 1] - settled[:, 0]
    return capacity, found
