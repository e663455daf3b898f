"""`claimstream bench faults`: as many schedules as one likes, and what none of them may show."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from bench.faults.schedule import AT_LEAST_ONCE, Verdict, run
from bench.report import Figure

QUICK_SEEDS, SEEDS = 300, 10_000
_TOLD = 12


def measure(*, quick: bool, plots: Path, seeds: int | None = None) -> list[Figure]:  # noqa: ARG001 - nothing to draw
    """Seeds 0, 1, … in turn. Quick: 300 of them."""
    count = seeds or (QUICK_SEEDS if quick else SEEDS)
    started = time.perf_counter()
    verdicts = [run(seed, AT_LEAST_ONCE) for seed in range(count)]
    return figures(verdicts, AT_LEAST_ONCE, time.perf_counter() - started)


def figures(verdicts: Sequence[Verdict], mode: str, seconds: float) -> list[Figure]:
    """Sums over schedules; failing seeds are named."""
    findings = [verdict.finding for verdict in verdicts]
    failing = [str(verdict.seed) for verdict in verdicts if not verdict.sound]
    met = [verdict.met for verdict in verdicts]
    faults = f"faults met: {sum(met) / len(met):.1f} a schedule, {min(met)} to {max(met)}"
    named = ", ".join(failing[:_TOLD]) + (" and more" if len(failing) > _TOLD else "")
    allowed = sum(finding.repeated for finding in findings)
    return [
        Figure("schedules", len(verdicts), "", "", f"{mode}; {faults}"),
        Figure("lost", sum(finding.lost for finding in findings), "claims", "≤ 0"),
        Figure(
            "duplicated",
            sum(finding.duplicated for finding in findings),
            "claims",
            "≤ 0",
            f"beyond what {mode} allows; answered again after a fault: {allowed}",
        ),
        Figure("out_of_order", sum(finding.out_of_order for finding in findings), "claims", "≤ 0"),
        Figure("wrong", sum(finding.wrong for finding in findings), "claims", "≤ 0", "lineage, dead letters"),
        Figure("failing_seeds", len(failing), "seeds", "≤ 0", named),
        Figure("wall", round(seconds, 1), "s"),
        Figure("schedules_per_s", round(len(verdicts) / seconds, 1), "1/s"),
    ]
