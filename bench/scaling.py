"""What a second worker process adds."""

from __future__ import annotations

import statistics
from pathlib import Path

from bench.broker import loaded_broker
from bench.report import Figure, spread
from bench.windows import Window, alternate, stage


def measure(*, quick: bool, plots: Path) -> list[Figure]:  # noqa: ARG001 - every benchmark takes the same
    """Throughput of two workers over that of one, for both models."""
    window = Window(0.5, 1.5) if quick else Window(3.0, 10.0)
    with loaded_broker(500_000 if quick else 3_000_000) as route:
        return [
            _ratio(f"scaling_{name}", [r["stage x 2"] / r["stage"] for r in results])
            for name, model in (("null", "null"), ("claims_filter", "claims_filter_v2.1"))
            for results in [
                alternate(
                    [stage(route, model, 1, 0), stage(route, model, 2, 0)], route, window, 1 if quick else 3
                )
            ]
        ]


def _ratio(name: str, ratios: list[float]) -> Figure:
    return Figure(name, statistics.median(ratios), "x", "", f"broker on the same cores; {spread(ratios)}")
