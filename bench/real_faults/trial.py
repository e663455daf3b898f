"""A fault strikes a running stage, once or several times; what comes of it is audited from the topics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Message

from bench.real_faults.clusters import Cluster, Kind
from bench.real_faults.modes import AT_LEAST_ONCE, BOTH
from bench.real_faults.scene import Prepare, Scene, UnavailableError
from stream.audit import Finding, audit

_LINGER = 1.0
_FIRST, _LAST = 0.2, 1.2
_NOTHING = Finding(0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens and what must hold after it, beside "each claim one answer".

    `strike` returns when the cause is over. `repeats`: at_least_once may answer again. `letters`: whether a dead letter
    is one of those that there must be; otherwise there may be none. `within`: seconds until claims are answered in time
    again.
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
    letters: Callable[[Message], bool] = lambda _: False
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
    except UnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told with the trial, and the next one goes on
        scene.complaints.append(f"{type(error).__name__}: {error}")
        finding = _broken_off(scene)
    finally:
        scene.tear_down()
    return _judged(fault, scene, seed, recovered, finding)


def _struck(fault: Fault, scene: Scene, patience: float) -> float:
    time.sleep(scene.random.uniform(_FIRST, _LAST))
    scene.listen()
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
    return audit(scene.cluster.client, scene.topics)


def _broken_off(scene: Scene) -> Finding:
    """What the topics hold of a trial that did not come to its end; claims that still wait are not lost."""
    try:
        scene.flow.silence()
        return audit(scene.cluster.client, scene.topics, group=scene.group)
    except Exception as error:  # noqa: BLE001 - as above; the trial is not sound in any case
        scene.complaints.append(f"not audited: {type(error).__name__}: {error}")
        return _NOTHING


def _judged(fault: Fault, scene: Scene, seed: int, recovered: list[float], finding: Finding) -> Trial:
    again = fault.repeats and scene.mode == AT_LEAST_ONCE
    if not finding.sound:
        (scene.folder / "finding.txt").write_text(repr(finding), encoding="utf-8")
    astray = [letter for letter in scene.letters if not fault.letters(letter)]
    scene.expect(not astray, f"{len(astray)} of {finding.dead_letters} dead letters are of sound claims")
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
