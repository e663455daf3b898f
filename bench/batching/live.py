"""The stage itself on a real Kafka, with the shipped model on a CPU: claims on time under load, and a burst.

Publisher, broker, stage and receiver share the machine's cores, so that capacity is what is left of them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.batching import fair
from bench.broker import loaded_broker
from bench.load import Check, await_scores, came, drained, flood, publish_at_rate, receiving, replay
from bench.missing import ends, missing
from bench.plots import latency_plot
from bench.report import Figure
from bench.windows import Route, running, stage
from stream.demonstration.receiver import Receiver
from stream.publishing.arrivals import Floats
from stream.publishing.recording import write_recording

_MODEL = "claims_filter_v2.1"
_BUDGETS = (67.0, 200.0)
_LOAD = 0.7
_FIRST_CLAIMS = 40_000
_LEFT_OUT = 2.0
# Shares of capacity before, in and after a burst of ten times as many claims.
_CALM, _BURST = 0.3, 3.0
_WINDOW = 0.5
_SEED = 11
# Seconds for scores that come after as many as there are claims: some were scored twice.
_LATEST = 10.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a stage with some budget did: claims a second at most, milliseconds of each claim under load, the burst."""

    budget: float
    capacity: float
    latency: Floats
    burst: Burst


@dataclass(frozen=True, slots=True)
class Burst:
    """`lost` claims; claims a second while a backlog was there, over capacity; seconds from its end until the P99 of
    new claims was inside the budget again.
    """

    lost: int
    drained: float
    recovery: float


def measure(*, quick: bool, plots: Path) -> list[Figure]:
    """`on_time_at_70` for two budgets, what a burst does, and a partition with a backlog."""
    seconds = 4.0 if quick else 20.0
    with loaded_broker(0) as route:
        found = [_loaded(route, budget, seconds) for budget in (_BUDGETS[-1:] if quick else _BUDGETS)]
        others = fair.measure(route, quick=quick)
    for each in found:
        latency_plot(each.latency, plots / f"latency-at-70-{each.budget:g}ms.png")
    return [*[figure for each in found for figure in _figures(each)], *others]


def _figures(loaded: Loaded) -> list[Figure]:
    name, latency = f"{loaded.budget:g}ms", loaded.latency
    on_time = float((latency <= loaded.budget).mean())
    p50, p95, p99, smallest = np.percentile(latency, (50, 95, 99, 99.9))
    note = (
        f"budget {name}, {_LOAD * loaded.capacity:.0f} claims/s, Poisson; P50 {p50:.1f}, P95 {p95:.1f}, "
        f"P99 {p99:.1f} ms; publisher, broker and receiver on the same cores"
    )
    burst = loaded.burst
    return [
        Figure(f"on_time_at_70_{name}", on_time, "", "≥ 0.999", note),
        Figure(
            f"smallest_budget_{name}",
            smallest,
            "ms",
            "",
            "in which 99.9 % of these claims were scored",
        ),
        Figure(f"capacity_{name}", loaded.capacity, "claims/s", "", "while claims are published"),
        Figure(
            f"burst_lost_{name}", burst.lost, "claims", "≤ 0", "without a score; 10 x the arrivals for 5 s"
        ),
        Figure(f"burst_drained_{name}", burst.drained, "x", "≥ 0.95", "of capacity, while behind"),
        Figure(f"burst_recovery_{name}", burst.recovery, "s", "≤ 2", "from the end of the backlog"),
    ]


def _loaded(route: Route, budget: float, seconds: float) -> Loaded:
    name = f"live-{budget:g}"
    own = Route(route.bootstrap, f"{name}-claims", f"{name}-scores", f"{name}-dead", route.partitions)
    receiver = receiving(own)
    with running(stage(own, _MODEL, 1, 0, CLAIMSTREAM_LATENCY__BUDGET_MS=f"{budget:g}")) as program:
        check = program.check
        speed = drained(own, receiver, _FIRST_CLAIMS, check)
        capacity = flood(own, receiver, speed, seconds, check)
        started, first = time.time(), receiver.count
        await_scores(receiver, first + publish_at_rate(own, _LOAD * capacity, seconds), check)
        latency = 1_000 * _latencies(receiver.times(), started + _LEFT_OUT)
        burst = _burst(own, receiver, capacity, budget / 1_000, check)
    receiver.stop()
    return Loaded(budget, capacity, latency, burst)


def _latencies(times: Floats, after: float) -> Floats:
    settled = times[times[:, 0] > after]
    found: Floats = settled[:, 1] - settled[:, 0]
    return found


def _burst(route: Route, receiver: Receiver, capacity: float, budget: float, check: Check) -> Burst:
    """Calm, five seconds of ten times as much, calm again."""
    rng = np.random.default_rng(_SEED)
    spans = [(0.0, 4.0, _CALM), (4.0, 9.0, _BURST), (9.0, 30.0, _CALM)]
    times = np.concatenate(
        [
            np.sort(rng.uniform(start, end, rng.poisson(share * capacity * (end - start))))
            for start, end, share in spans
        ]
    )
    before, started, first = receiver.count, time.time(), ends(route)
    with TemporaryDirectory() as folder:
        recording = Path(folder) / "burst.parquet"
        write_recording(recording, times)
        replay(route, len(times), recording)
    # Where they do not come, how many are lacking is what is to be told.
    came(receiver, before + len(times), check)
    seen = receiver.times()
    return Burst(missing(route, first, _LATEST), *recovered(seen[seen[:, 0] > started], capacity, budget))


def recovered(times: Floats, capacity: float, budget: float) -> tuple[float, float]:
    """Speed while behind, as a share of capacity; seconds from the end of the backlog until new claims are on time."""
    if not len(times):
        return 0.0, float("inf")
    sent, received = np.sort(times[:, 0]), np.sort(times[:, 1])
    moments = np.arange(sent[0], received[-1], _WINDOW)
    behind = np.searchsorted(sent, moments) - np.searchsorted(received, moments)
    crowded = moments[behind > 2 * budget * capacity]
    if len(crowded) < 2:
        return 1.0, 0.0
    first, last = crowded[0], crowded[-1]
    drained = (np.searchsorted(received, last) - np.searchsorted(received, first)) / (last - first)
    latency = times[:, 1] - times[:, 0]
    for start in np.arange(last, moments[-1], 0.1):
        window = latency[(times[:, 0] >= start) & (times[:, 0] < start + _WINDOW)]
        if len(window) and np.percentile(window, 99) <= budget:
            return float(drained / capacity), float(start - last)
    return float(drained / capacity), float("inf")
