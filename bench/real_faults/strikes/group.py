"""Members that come, go, and are mistaken for each other."""

from __future__ import annotations

import time

from bench.real_faults import ailments
from bench.real_faults.levers import Lever
from bench.real_faults.modes import EXACTLY_ONCE
from bench.real_faults.scene import Scene
from bench.real_faults.stage import await_that

_VISIT, _SHORT, _MINUTE = 2.0, 14.0, 60.0
_SAID_SECONDS = 20.0


def join_and_leave(scene: Scene) -> None:
    """One worker joins and leaves every two seconds, for a minute."""
    with scene.further_worker(_MINUTE if scene.thorough else _SHORT, _VISIT):
        pass


def rebalance_in_a_batch(scene: Scene) -> None:
    """Another worker joins, and leaves, while forwards take their time."""
    scene.levers.ail(ailments.SLOW)
    try:
        with scene.further_worker(4.0, scene.random.uniform(2.0, 3.0)):
            pass
    finally:
        scene.levers.cure(ailments.SLOW)


def commit_races_rebalance(scene: Scene) -> None:
    """A commit begins, and while it waits another worker joins."""
    step = "commit_transaction" if scene.mode == EXACTLY_ONCE else "commit"
    with scene.further_worker(6.0, 2.0):
        for _ in range(4):
            scene.pull(Lever(step, "before", "sleep", scene.random.uniform(0.3, 1.2)))
            time.sleep(0.2)


def twin(scene: Scene) -> None:
    """Another stage of the same name, and so with the same transactional.id, comes and goes."""
    _visited_by_namesake(scene, "another worker has its transactional.id")


def static_twin(scene: Scene) -> None:
    """The same with one group.instance.id; the transactional.id, where there is one, may tell first."""
    _visited_by_namesake(
        scene,
        "another member of the group has this one's group.instance.id",
        "another worker has its transactional.id",
    )


def _visited_by_namesake(scene: Scene, *words: str) -> None:
    other = scene.start_stage()
    other.await_ready()

    def told() -> bool:
        said = scene.stage.said() + other.said()
        return any(each in said for each in words)

    await_that(told, f"somebody says {words[0]!r}", _SAID_SECONDS)
    other.kill()
