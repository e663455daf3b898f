"""`claimstream bench faults`: as many schedules as one likes, and what none of them may show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.faults.schedule import AT_LEAST_ONCE, EXACTLY_ONCE
from bench.faults.tally import Book, Tally
from bench.report import Figure
from stream.cli.output import progress

QUICK_SEEDS, SEEDS = 150, 10_000
_TOLD = 12


def measure(*, quick: bool, plots: Path, seeds: int | None = None, first: int = 0) -> list[Figure]:
    """Seeds `first`, `first` + 1, … in each mode of delivery; 150 of them when quick.

    Blocks of 50 are noted in faults.jsonl beside the plots, and not run again.
    """
    count, book = seeds or (QUICK_SEEDS if quick else SEEDS), Book(plots / "faults.jsonl")
    return [
        figure for mode in (AT_LEAST_ONCE, EXACTLY_ONCE) for figure in _measured(book, mode, first, count)
    ]


def _measured(book: Book, mode: str, first: int, count: int) -> list[Figure]:
    with progress(f"schedules, {mode}", count) as bar:
        return figures(book.tallies(mode, first, count, bar.advance), mode)


def figures(tallies: Sequence[Tally], mode: str) -> list[Figure]:
    """Sums over schedules of one mode; failing seeds are named."""
    count, seconds = sum(each.count for each in tallies), sum(each.seconds for each in tallies)
    failing = [str(seed) for each in tallies for seed in each.failing]
    fewest, most = min(each.fewest for each in tallies), max(each.most for each in tallies)
    faults = f"faults met: {sum(each.met for each in tallies) / count:.1f} a schedule, {fewest} to {most}"
    named = ", ".join(failing[:_TOLD]) + (" and more" if len(failing) > _TOLD else "")
    allowed = sum(each.repeated for each in tallies)
    return [
        Figure(f"schedules_{mode}", count, "", "", f"{mode}; {faults}"),
        Figure(f"lost_{mode}", sum(each.lost for each in tallies), "claims", "≤ 0"),
        Figure(
            f"duplicated_{mode}",
            sum(each.duplicated for each in tallies),
            "claims",
            "≤ 0",
            f"beyond what {mode} allows; answered again after a fault: {allowed}",
        ),
        Figure(f"out_of_order_{mode}", sum(each.out_of_order for each in tallies), "claims", "≤ 0"),
        Figure(
            f"wrong_{mode}", sum(each.wrong for each in tallies), "claims", "≤ 0", "lineage, dead letters"
        ),
        Figure(
            f"lives_beyond_faults_{mode}",
            max(each.beyond for each in tallies),
            "",
            "≤ 0",
            "most lives of the workers of a schedule, less one each and one a fault; "
            f"{sum(each.lives for each in tallies) / count:.1f} lives a schedule",
        ),
        Figure(f"failing_seeds_{mode}", len(failing), "seeds", "≤ 0", named),
        Figure(f"wall_{mode}", seconds, "s"),
        Figure(f"schedules_per_s_{mode}", count / seconds, "1/s"),
    ]
