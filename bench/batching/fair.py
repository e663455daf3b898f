"""One partition with a backlog: what it costs the claims of the others, on the real stage."""

from __future__ import annotations

import time

import numpy as np
from confluent_kafka import Producer

from bench.load import await_scores, drained, receiving
from bench.preload import encoded_claims, preload
from bench.report import Figure
from bench.windows import Route, running, stage

_MODEL = "claims_filter_v2.1"
_BUDGET = 0.2
_FIRST_CLAIMS = 20_000
# Every so often one claim for each quiet partition.
_EVERY = 0.02
# Seconds of the backlog that the stage works off.
_LASTS, _QUICK_LASTS = 8.0, 3.0


def measure(route: Route, *, quick: bool) -> list[Figure]:
    """`quiet_partitions_on_time` while partition 0 is behind by as much as the stage scores in some seconds."""
    own = Route(route.bootstrap, "fair-claims", "fair-scores", "fair-dead", route.partitions)
    receiver = receiving(own)
    with running(stage(own, _MODEL, 1, 0, CLAIMSTREAM_LATENCY__BUDGET_MS=f"{1_000 * _BUDGET:g}")) as program:
        speed = drained(own, receiver, _FIRST_CLAIMS, program.check)
        first, lasts = receiver.count, _QUICK_LASTS if quick else _LASTS
        preload(own.bootstrap, own.claims, int(speed * lasts), 1)
        began = time.time()
        sent = _trickle(own, lasts / 2)
        await_scores(receiver, first + int(speed * lasts) + sent, program.check)
    receiver.stop()
    times = receiver.times()
    latency = 1_000 * (times[:, 1] - times[:, 0])[times[:, 0] >= began]
    p50, p99 = np.percentile(latency, (50, 99))
    return [
        Figure(
            "quiet_partitions_on_time",
            float((latency <= 1_000 * _BUDGET).mean()),
            "",
            "",
            f"budget {1_000 * _BUDGET:g} ms, {len(latency)} claims of three partitions while the fourth is behind by "
            f"{speed * lasts:.0f}: P50 {p50:.0f}, P99 {p99:.0f} ms",
        )
    ]


def _trickle(route: Route, seconds: float) -> int:
    """Claims for every partition but the first; how many."""
    producer, claims, sent = (
        Producer({"bootstrap.servers": route.bootstrap, "linger.ms": 0}),
        encoded_claims(1_000),
        0,
    )
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for partition in range(1, route.partitions):
            producer.produce(route.claims, **claims[sent % len(claims)], partition=partition)
            sent += 1
        producer.poll(0)
        time.sleep(_EVERY)
    producer.flush(10)
    return sent
