"""What the stage itself carries: the null model against a competent loop and against the clients alone."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.broker import loaded_broker
from bench.contestants import rival, stage
from bench.plots import windows_plot
from bench.report import Figure
from bench.windows import Route, Window, alternate, ratios, speeds, spread

# Large batches, as the null model costs nothing: the figure is about the stage, not about the batch size.
_BATCH = {"ML_BATCH_SIZE_MAX": "4096"}
_LOOPS = ("loop 500", "loop 2000")
_CARRY = "carry 2000"


def measure(*, quick: bool, plots: Path) -> list[Figure]:
    """`host_vs_loop` and `host_vs_ceiling`, from contestants that alternate in one run."""
    window = Window(1.0, 5.0) if quick else Window(2.0, 10.0)
    with loaded_broker(1_000_000 if quick else 4_000_000) as route:
        results = compare(route, window, rounds=1 if quick else 3)
    windows_plot(results, plots / "host.png")
    return figures(results)


def compare(route: Route, window: Window, rounds: int) -> list[dict[str, float]]:
    """Claims a second of the stage, the loop at both batch sizes, and the carry."""
    contestants = [
        stage(route, "null", 1, **_BATCH),
        rival(route, "loop", 500),
        rival(route, "loop", 2_000),
        rival(route, "carry", 2_000),
    ]
    return alternate(contestants, route, window, rounds)


def figures(results: Sequence[Mapping[str, float]]) -> list[Figure]:
    """The better loop of each round counts."""
    loop, carry = ratios(results, "stage", *_LOOPS), ratios(results, "stage", _CARRY)
    ours = [result["stage"] for result in results]
    return [
        _ratio("host_vs_loop", loop, "≥ 4.0", f"{spread(loop)}; claims/s: {speeds(results)}"),
        _ratio("host_vs_ceiling", carry, "", f"{spread(carry)}; ceiling: consume + produce alone"),
        Figure(
            "host_claims_per_s",
            round(statistics.median(ours)),
            "claims/s",
            "",
            f"ML_BATCH_SIZE_MAX={_BATCH['ML_BATCH_SIZE_MAX']}; {spread(ours)}",
        ),
    ]


def _ratio(name: str, values: list[float], goal: str, note: str) -> Figure:
    return Figure(name, round(statistics.median(values), 2), "x", goal, note)
