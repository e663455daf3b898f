"""A fault strikes a running stage, once or several times; what comes of it is audited from the topics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException

from bench.real_faults.clusters import Cluster, Kind
from bench.real_faults.modes import AT_LEAST_ONCE, BOTH
from bench.real_faults.scene import Prepare, Scene
from bench.real_faults.stage import NeverError
from stream.audit import Finding, audit
from stream.errors import FatalError

_LINGER = 1.0
_FIRST, _LAST = 0.2, 1.2


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens and what must hold after it, beside "each claim one answer".

    `strike` returns when the cause is over. `repeats`: at_least_once may answer again. `letters`: some claims become
    dead letters, and otherwise none may. `within`: seconds until claims are answered in time again.
    """

    name: str
    strike: Callable[[Scene], None]
    modes: tuple[str, ...] = BOTH
    cluster: Kind = Kind.ONE
    workers: int = 1
    model: str | None = "null"
    settings: Mapping[str, str] = field(default_factory=dict)
    topic_config: Mapping[str, str] = field(default_factory=dict)
    full_disk: bool = False
    prepare: Prepare = lambda _: {}
    repeats: bool = False
    letters: bool = False
    within: float = 25.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. `recovered`: seconds of each strike until no claim was late any more.

    `repeated`: answered again where delivery at least once allows it.
    """

    fault: str
    mode: str
    seed: int
    strikes: int
    published: int
    recovered: tuple[float, ...]
    lost: int
    duplicated: int
    repeated: int
    out_of_order: int
    wrong: int
    complaints: tuple[str, ...]

    @property
    def sound(self) -> bool:
        wrong = self.lost or self.duplicated or self.out_of_order or self.wrong
        return not (wrong or self.complaints)


def run(
    fault: Fault,
    mode: str,
    cluster: Cluster,
    folder: Path,
    *,
    seed: int,
    strikes: int = 1,
    patience: float = 1.0,
    thorough: bool = False,
) -> Trial:
    """A stage of its own, struck `strikes` times at moments drawn from `seed`. Logs stay in `folder`.

    `patience`: it may take so many times as long to recover.
    """
    scene = Scene(
        cluster,
        mode,
        fault.settings,
        folder,
        workers=fault.workers,
        model=fault.model,
        seed=seed,
        thorough=thorough,
        topic_config=fault.topic_config,
        full_disk=fault.full_disk,
        prepare=fault.prepare,
    )
    recovered: list[float] = []
    finding: Finding | None = None
    try:
        scene.set_up()
        while len(recovered) < strikes:
            recovered.append(_struck(fault, scene, patience))
        finding = _ended(scene)
    except (NeverError, KafkaException, FatalError) as error:
        scene.complaints.append(f"{type(error).__name__}: {error}")
        finding = _audited(scene)
    finally:
        scene.tear_down()
    return _judged(fault, scene, seed, recovered, finding)


def _struck(fault: Fault, scene: Scene, patience: float) -> float:
    time.sleep(scene.random.uniform(_FIRST, _LAST))
    struck = time.monotonic()
    fault.strike(scene)
    # What a fault does may show only after it.
    time.sleep(_LINGER)
    scene.await_calm(patience * fault.within)
    return scene.flow.late_since(struck)


def _ended(scene: Scene) -> Finding:
    scene.flow.silence()
    scene.await_answers()
    for stage in scene.stages:
        if stage.exit_code is None:
            code = stage.stop()
            scene.expect(code == 0, f"the stage ended with code {code}")
    return _audited(scene)


def _audited(scene: Scene) -> Finding:
    return audit(scene.cluster.client, scene.topics)


def _judged(fault: Fault, scene: Scene, seed: int, recovered: list[float], finding: Finding) -> Trial:
    again = fault.repeats and scene.mode == AT_LEAST_ONCE
    if not finding.sound:
        (scene.folder / "finding.txt").write_text(repr(finding), encoding="utf-8")
    scene.expect(fault.letters or not finding.dead_letters, f"{finding.dead_letters} claims are dead letters")
    return Trial(
        fault.name,
        scene.mode,
        seed,
        len(recovered),
        finding.published,
        tuple(round(seconds, 2) for seconds in recovered),
        finding.lost,
        0 if again else finding.duplicated,
        finding.duplicated if again else 0,
        finding.out_of_order,
        finding.wrong_lineage + finding.altered,
        tuple(scene.complaints),
    )
