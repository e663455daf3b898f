"""What a second worker process adds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.broker import loaded_broker
from bench.contestants import stage
from bench.report import Figure
from bench.windows import Window, alternate, ratios, speeds, spread

_MODELS = {"null": "null", "claims_filter": "claims_filter_v2.1"}


def measure(*, quick: bool, plots: Path) -> list[Figure]:  # noqa: ARG001 - every benchmark takes the same
    """Throughput of two workers over that of one; quick leaves the null model out."""
    window = Window(1.0, 3.0) if quick else Window(3.0, 10.0)
    found = []
    with loaded_broker(200_000 if quick else 3_000_000) as route:
        for name in ("claims_filter",) if quick else _MODELS:
            contestants = [stage(route, _MODELS[name], workers) for workers in (1, 2)]
            found.append(_ratio(name, alternate(contestants, route, window, 1 if quick else 3)))
    return found


def _ratio(name: str, results: Sequence[Mapping[str, float]]) -> Figure:
    values = ratios(results, "stage x 2", "stage")
    note = f"{spread(values)}; claims/s: {speeds(results)}; broker on the same cores"
    return Figure(f"scaling_{name}", round(statistics.median(values), 2), "x", "", note)
