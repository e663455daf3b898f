"""`claimstream bench soak`: random faults for as long as one likes; nothing is lost, and nothing grows.

One stage of two workers lives through all of it. Faults end workers, but one of them is spared: its memory, threads and
file descriptors, and the supervisor's, are looked at whenever all claims are answered. Should its client lose the
cluster for good (`stream/client_watch.py`), the other worker is spared from then on.
"""

from __future__ import annotations

import math
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from bench.real_faults.clusters import Clusters, Kind
from bench.real_faults.modes import AT_LEAST_ONCE
from bench.real_faults.scene import SESSION, Scene
from bench.real_faults.strikes import brokers, group, records
from bench.real_faults.strikes.workers import replaced
from bench.report import Figure
from stream.audit import audit

_MINUTES, _QUICK_MINUTES = 30.0, 0.5
# A client that has lost its cluster is noticed after 25 s; its worker starts anew and works off what came meanwhile.
_CALM_SECONDS = 120.0
_REST = 1.0
# What comes in the first part is the stage warming up: caches fill, the allocator learns.
_WARM_UP = 0.2
# Looks in a third of the time, below which their median tells nothing.
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds: megabytes of its own, threads, file descriptors."""

    memory: float
    threads: int
    files: int


Strike = Callable[[Scene], None]


def _kill_the_other(scene: Scene) -> None:
    """kill -9 of the worker that is not spared."""
    workers = scene.stage.workers()
    os.kill(workers[-1], signal.SIGKILL)
    replaced(scene, len(workers))


def _stop_the_spared(scene: Scene) -> None:
    """The one that is spared stands still for longer than its session, and is not killed by that."""
    spared = scene.stage.workers()[0]
    os.kill(spared, signal.SIGSTOP)
    # Shorter than a transaction may last: its producer would be fenced, and the process end.
    time.sleep(SESSION + 0.5)
    os.kill(spared, signal.SIGCONT)


_STRIKES: tuple[Strike, ...] = (
    _kill_the_other,
    _stop_the_spared,
    brokers.flapping,
    brokers.hard_bounce,
    brokers.clean_bounce,
    records.damaged,
    records.not_finite,
    records.raises,
    records.out_of_memory,
    records.burst_then_silence,
    records.clock_jumps,
    group.rebalance_in_a_batch,
)


def measure(*, quick: bool, plots: Path, minutes: float = 0.0) -> list[Figure]:  # noqa: ARG001 - nothing to draw
    """Random faults for so many minutes, 30 unless told otherwise; quick: half a minute."""
    seconds = 60.0 * (minutes or (_QUICK_MINUTES if quick else _MINUTES))
    folder = Path(tempfile.mkdtemp(prefix="claimstream-soak-"))
    clusters = Clusters()
    try:
        return _soaked(Scene(clusters.get(Kind.ONE), AT_LEAST_ONCE, {}, folder, workers=2), seconds)
    finally:
        clusters.close()


def _soaked(scene: Scene, seconds: float) -> list[Figure]:
    looks: dict[str, list[Held]] = {"worker": [], "supervisor": []}
    faults = 0
    try:
        scene.set_up()
        spared = scene.stage.workers()[0]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            strike = scene.random.choice(_STRIKES)
            strike(scene)
            faults += 1
            time.sleep(_REST)
            scene.await_calm(_CALM_SECONDS)
            if (eldest := scene.stage.workers()[0]) != spared:
                scene.expect(
                    _lost_its_cluster(scene, spared), f"the spared worker ended in {strike.__name__}"
                )
                spared = eldest
                looks["worker"].clear()
            if scene.complaints:
                break
            _look(looks, {"worker": spared, "supervisor": scene.stage.pid})
            click.echo(f"{strike.__name__}: {looks['worker'][-1]}", err=True)
        scene.flow.silence()
        scene.await_answers()
        scene.expect((code := scene.stage.stop()) == 0, f"the stage ended with code {code}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told with the figures
        scene.complaints.append(f"{type(error).__name__}: {error}")
    finally:
        scene.tear_down()
    return [*_of_claims(scene, faults, seconds), *_of_processes(looks)]


def _lost_its_cluster(scene: Scene, worker: int) -> bool:
    """Whether a worker ended for the reason for which it may, by the log of the stage."""
    said = (line for line in scene.stage.said().splitlines() if f" {worker} stream." in line)
    return any("has lost its cluster" in line for line in said)


def _look(looks: dict[str, list[Held]], processes: dict[str, int]) -> None:
    for name, pid in processes.items():
        process = psutil.Process(pid)
        memory = process.memory_full_info().uss / 1e6
        looks[name].append(Held(memory, process.num_threads(), process.num_fds()))


def _of_claims(scene: Scene, faults: int, seconds: float) -> list[Figure]:
    finding = audit(scene.cluster.client, scene.topics, group=scene.group)
    astray = [each for each in scene.letters if not (records.is_damaged(each) or records.is_poisoned(each))]
    scene.expect(not astray, f"{len(astray)} dead letters are of sound claims")
    scene.expect(not finding.waiting, f"{finding.waiting} claims are neither answered nor committed")
    wrong = finding.wrong_lineage + finding.altered
    note = f"in {seconds / 60:.1f} minutes, {finding.published} claims; {'; '.join(scene.complaints)}"
    return [
        Figure("soak_faults", faults, "", "", note.rstrip("; ")),
        Figure("soak_lost", finding.lost, "claims", "≤ 0"),
        Figure("soak_out_of_order", finding.out_of_order, "claims", "≤ 0"),
        Figure("soak_wrong", wrong, "claims", "≤ 0", "lineage, dead letters"),
        Figure("soak_complaints", len(scene.complaints), "", "≤ 0"),
        Figure("soak_repeated", finding.duplicated, "claims", "", "at_least_once"),
    ]


def _of_processes(looks: dict[str, list[Held]]) -> list[Figure]:
    return [figure for name, held in looks.items() for figure in grown(name, held)]


def grown(name: str, held: Sequence[Held]) -> list[Figure]:
    """What a process holds at the end beyond what it held after its warm-up: medians of a third of the time."""
    settled = held[int(_WARM_UP * len(held)) :]
    third = len(settled) // 3

    def growth(of: Callable[[Held], float]) -> tuple[float, str]:
        if third < _FEWEST:
            return math.nan, f"{len(held)} looks are too few"
        before, after = (statistics.median(map(of, part)) for part in (settled[:third], settled[-third:]))
        return after - before, f"from {before:.0f} to {after:.0f}, {len(held)} looks"

    memory, threads, files = (
        growth(of) for of in (lambda each: each.memory, lambda each: each.threads, lambda each: each.files)
    )
    return [
        Figure(f"soak_{name}_memory", memory[0], "MB", "≤ 10", f"its own: {memory[1]}"),
        Figure(f"soak_{name}_threads", threads[0], "", "≤ 1", threads[1]),
        Figure(f"soak_{name}_files", files[0], "", "≤ 4", files[1]),
    ]
