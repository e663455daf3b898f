"""`claimstream bench faults --real`: every fault of the table many times, and what none of them may show."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from bench.faults.tally import sources
from bench.real_faults.clusters import Clusters
from bench.real_faults.journal import Conditions, Journal
from bench.real_faults.modes import AT_LEAST_ONCE
from bench.real_faults.scene import UnavailableError
from bench.real_faults.table import FAULTS
from bench.real_faults.trial import Fault, Trial, run
from bench.report import Figure
from stream.errors import UsageError

_STRIKES = 5
_QUICKEST = ("kill",)
_KILLS = ("kill_before_", "kill_after_")
_TOLD = 12


def measure(
    *,
    quick: bool,
    plots: Path,
    rounds: int = 1,
    strikes: int = 0,
    only: Sequence[str] = (),
    minutes: float = float("inf"),
    patience: float = 1.0,
) -> list[Figure]:
    """`rounds` over the faults, each struck `strikes` times in one. Quick: one strike of a kill.

    A trial is noted in the journal beside the plots as soon as it has ended. What that holds of this state of the
    program, under the same conditions, is not done again.
    """
    faults = _chosen(only or (_QUICKEST if quick else ()))
    conditions = Conditions(sources(), strikes or (1 if quick else _STRIKES), patience)
    journal = Journal(plots / "faults-real.jsonl", conditions)
    done = {(trial.fault, trial.mode, trial.seed) for trial in journal.trials()}
    clusters, until = Clusters(), time.monotonic() + 60.0 * minutes
    try:
        for fault, mode, seed in _plan(faults, rounds):
            if (fault.name, mode, seed) not in done and time.monotonic() < until:
                _done(fault, mode, seed, conditions, clusters, journal)
    finally:
        clusters.close()
    names = {fault.name for fault in faults}
    return figures([trial for trial in journal.trials() if trial.fault in names])


def _chosen(only: Sequence[str]) -> list[Fault]:
    known = {fault.name: fault for fault in FAULTS}
    if unknown := [name for name in only if name not in known]:
        raise UsageError(f"no fault {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in only] if only else list(FAULTS)


def _plan(faults: Sequence[Fault], rounds: int) -> Iterator[tuple[Fault, str, int]]:
    """Round by round, so that all faults were struck about as often whenever it ends; a cluster's are neighbours."""
    for seed in range(1, rounds + 1):
        for fault in sorted(faults, key=lambda fault: fault.cluster.value):
            for mode in fault.modes:
                yield fault, mode, seed


def _done(
    fault: Fault, mode: str, seed: int, conditions: Conditions, clusters: Clusters, journal: Journal
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="claimstream-fault-"))
    try:
        trial = run(
            fault,
            mode,
            clusters.get(fault.cluster),
            folder,
            seed=seed,
            strikes=conditions.strikes,
            patience=conditions.patience,
            thorough=True,
        )
    except UnavailableError as error:
        click.echo(f"{fault.name}: left out, {error}", err=True)
        return
    journal.add(trial)
    if trial.sound:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        # Whatever state the trial left the brokers in, the next one begins with new ones.
        clusters.close()
    click.echo(
        f"{fault.name} {mode} {seed}: {'sound' if trial.sound else f'{trial}, see {folder}'}", err=True
    )


def figures(trials: Sequence[Trial]) -> list[Figure]:
    """Sums over all trials, and the times to recover of each fault and mode."""
    if not trials:
        return []
    failing = [f"{each.fault} {each.mode} {each.seed}" for each in trials if not each.sound]
    strikes = sum(trial.strikes for trial in trials)
    by_fault = _grouped(trials)
    least = min(sum(trial.strikes for trial in each) for each in by_fault.values())
    claims = sum(trial.published for trial in trials)
    return [
        Figure(
            "real_strikes",
            strikes,
            "",
            "",
            f"of {len(by_fault)} faults and modes, each at least {least} times",
        ),
        Figure("real_claims", claims, "claims"),
        Figure("real_lost", sum(trial.lost for trial in trials), "claims", "≤ 0"),
        Figure("real_duplicated", sum(trial.duplicated for trial in trials), "claims", "≤ 0"),
        Figure("real_out_of_order", sum(trial.out_of_order for trial in trials), "claims", "≤ 0"),
        Figure("real_wrong", sum(trial.wrong for trial in trials), "claims", "≤ 0", "lineage, dead letters"),
        Figure("real_failing", len(failing), "trials", "≤ 0", ", ".join(failing[:_TOLD])),
        *_after_kills(trials),
        *(figure for (fault, mode), each in by_fault.items() for figure in _recovery(fault, mode, each)),
    ]


def _grouped(trials: Sequence[Trial]) -> dict[tuple[str, str], list[Trial]]:
    found: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        found.setdefault((trial.fault, trial.mode), []).append(trial)
    return found


def _recovery(fault: str, mode: str, trials: Sequence[Trial]) -> list[Figure]:
    """Seconds from a strike until no claim was late any more, one second after it was published."""
    seconds = [each for trial in trials for each in trial.recovered] or [float("nan")]
    note = f"{len(seconds)} strikes; P50, the longest {max(seconds):.1f} s"
    return [Figure(f"recover_{fault}_{mode}", statistics.median(seconds), "s", "", note)]


def _after_kills(trials: Sequence[Trial]) -> list[Figure]:
    """Results that were made twice after a kill -9 of one worker."""
    kills = [
        trial for trial in trials if trial.mode == AT_LEAST_ONCE and _is_kill(trial.fault) and trial.strikes
    ]
    if not kills:
        return []
    each = [trial.repeated / trial.strikes for trial in kills]
    note = (
        f"at_least_once, {sum(trial.strikes for trial in kills)} kills, at every step; median of a trial's mean, the "
        f"highest {max(each):.0f}: delivered and not committed yet, at 200 claims/s and a commit every 0.2 s"
    )
    return [Figure("duplicates_per_kill", statistics.median(each), "claims", "≤ 60", note)]


def _is_kill(fault: str) -> bool:
    """Whether one worker of two is killed while all is well."""
    return fault == "kill" or fault.startswith(_KILLS)
