"""What the stage itself carries: the null model against a competent loop and against the clients alone."""

from __future__ import annotations

import statistics
from pathlib import Path

from bench.broker import loaded_broker
from bench.plots import windows_plot
from bench.report import Figure, spread
from bench.windows import Window, alternate, rival, stage

# Large batches, as the null model costs nothing: the figure is about the stage, not about the batch size.
_BATCH = {"ML_BATCH_SIZE_MAX": "4096"}


def measure(*, quick: bool, plots: Path) -> list[Figure]:
    """`host_vs_loop` and `host_vs_ceiling`, from contestants that alternate in one run."""
    window = Window(1.0, 3.0) if quick else Window(2.0, 10.0)
    rounds = 1 if quick else 3
    with loaded_broker(1_500_000 if quick else 4_000_000) as route:
        contestants = [
            stage(route, "null", 1, 0, **_BATCH),
            rival(route, "loop", 500),
            rival(route, "loop", 2_000),
            rival(route, "carry", 2_000),
        ]
        results = alternate(contestants, route, window, rounds)
    against_loop = [r["stage"] / max(r["loop 500"], r["loop 2000"]) for r in results]
    against_carry = [r["stage"] / r["carry 2000"] for r in results]
    speed = statistics.median(r["stage"] for r in results)
    windows_plot(results, plots / "host.png")
    return [
        Figure("host_vs_loop", statistics.median(against_loop), "x", "≥ 4.0", spread(against_loop)),
        Figure("host_vs_ceiling", statistics.median(against_carry), "x", "", spread(against_carry)),
        Figure("host_claims_per_s", speed, "claims/s", "", spread([r["stage"] for r in results])),
    ]
