"""Where the time of a claim goes, what a single claim costs, and whether memory stays flat."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import psutil

import schemas
from bench.broker import loaded_broker
from bench.plots import cost_plot
from bench.report import Figure
from bench.scrape import numbers, page
from bench.windows import Meter, Route, running, stage
from models import open_model
from stream.codec import Decoder, Encoder
from stream.publishing import generate

_PARTS = ("consume", "decode", "features", "forward", "encode", "produce")
_PORT = 18_619
_REPEATS = 2_000


def measure(*, quick: bool, plots: Path) -> list[Figure]:
    """Cost by part for both models, `single_us` and `rss_growth_mb`."""
    claims = 600_000 if quick else 2_000_000
    with loaded_broker(claims) as route:
        null, growth = _run(route, "null", 250_000 if quick else 1_000_000)
        filtered, _ = _run(route, "claims_filter_v2.1", 20_000 if quick else 100_000)
    cost_plot({"null": null, "claims_filter": filtered}, plots / "stages.png")
    costs = [
        Figure(
            f"{part}_us_{name}",
            costs[part],
            "µs/claim",
            "",
            "wall time of the part, waits included",
        )
        for name, costs in (("null", null), ("claims_filter", filtered))
        for part in _PARTS
    ]
    return [
        Figure("single_us", single_claim(), "µs", "≤ 300", "decode + features of a poll of one, median"),
        Figure(
            "rss_growth_mb",
            growth,
            "MB",
            "",
            f"worker, over {250_000 if quick else 1_000_000} claims",
        ),
        *costs,
    ]


def single_claim() -> float:
    """Median microseconds of decode and features for one claim, warm."""
    decoder, model = Decoder(schemas.load("claim_event")), open_model("claims_filter_v2.1", threads=1)
    values = Encoder(schemas.load("claim_event")).encode(next(iter(generate(200, 1))))
    spent = []
    for repeat in range(_REPEATS):
        started = time.perf_counter()
        model.features.encode(decoder.decode([values[repeat % len(values)]]).claims)
        spent.append(time.perf_counter() - started)
    return 1e6 * statistics.median(spent)


def _run(route: Route, model: str, claims: int) -> tuple[dict[str, float], float]:
    """Microseconds a claim by part, and growth of the worker's resident memory (MB) over `claims` claims."""
    meter = Meter(route.bootstrap, route.scores, range(route.partitions))
    start, waiting = meter.total(), Meter(route.bootstrap, route.claims, range(route.partitions)).total()
    with running(stage(route, model, 1, _PORT)) as process:
        meter.await_growth(start, min(claims // 2, 200_000), process.check)
        worker = max(
            psutil.Process(process.pid).children(recursive=True), key=lambda child: child.memory_info().rss
        )
        before, reached = worker.memory_info().rss, meter.total()
        while (total := meter.total()) - reached < claims and total - start < waiting:
            process.check()
            time.sleep(0.2)
        growth = (worker.memory_info().rss - before) / 1e6
        time.sleep(1.0)
        return _costs(), growth


def _costs() -> dict[str, float]:
    found = numbers(page(_PORT, "/metrics")[1])
    delivered = found["claims_delivered_total"]
    return {part: 1e6 * found[f'busy_seconds_total{{part="{part}"}}'] / delivered for part in _PARTS}
