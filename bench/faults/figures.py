"""`claimstream bench faults`: as many schedules as one likes, and what none of them may show."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from bench.faults.schedule import AT_LEAST_ONCE, EXACTLY_ONCE, Verdict, run
from bench.report import Figure

QUICK_SEEDS, SEEDS = 300, 10_000
_TOLD = 12


def measure(*, quick: bool, plots: Path, seeds: int | None = None) -> list[Figure]:  # noqa: ARG001 - nothing to draw
    """Seeds 0, 1, … in turn, half of them in each mode of delivery. Quick: 300 of them."""
    count = (seeds or (QUICK_SEEDS if quick else SEEDS)) // 2
    return [figure for mode in (AT_LEAST_ONCE, EXACTLY_ONCE) for figure in _measured(mode, count)]


def _measured(mode: str, count: int) -> list[Figure]:
    started = time.perf_counter()
    verdicts = [run(seed, mode) for seed in range(count)]
    return figures(verdicts, mode, time.perf_counter() - started)


def figures(verdicts: Sequence[Verdict], mode: str, seconds: float) -> list[Figure]:
    """Sums over schedules of one mode; failing seeds are named."""
    findings = [verdict.finding for verdict in verdicts]
    failing = [str(verdict.seed) for verdict in verdicts if not verdict.sound]
    met = [verdict.met for verdict in verdicts]
    faults = f"faults met: {sum(met) / len(met):.1f} a schedule, {min(met)} to {max(met)}"
    named = ", ".join(failing[:_TOLD]) + (" and more" if len(failing) > _TOLD else "")
    allowed = sum(finding.repeated for finding in findings)
    return [
        Figure(f"schedules_{mode}", len(verdicts), "", "", f"{mode}; {faults}"),
        Figure(f"lost_{mode}", sum(finding.lost for finding in findings), "claims", "≤ 0"),
        Figure(
            f"duplicated_{mode}",
            sum(finding.duplicated for finding in findings),
            "claims",
            "≤ 0",
            f"beyond what {mode} allows; answered again after a fault: {allowed}",
        ),
        Figure(f"out_of_order_{mode}", sum(finding.out_of_order for finding in findings), "claims", "≤ 0"),
        Figure(
            f"wrong_{mode}",
            sum(finding.wrong for finding in findings),
            "claims",
            "≤ 0",
            "lineage, dead letters",
        ),
        Figure(f"failing_seeds_{mode}", len(failing), "seeds", "≤ 0", named),
        Figure(f"wall_{mode}", round(seconds, 1), "s"),
        Figure(f"schedules_per_s_{mode}", round(len(verdicts) / seconds, 1), "1/s"),
    ]
