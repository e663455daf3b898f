"""Worker processes and stages: killed, stopped, hung, told to end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from bench.real_faults import ailments
from bench.real_faults.levers import Lever, Moment
from bench.real_faults.scene import SESSION, Scene
from bench.real_faults.stage import await_that

Strike = Callable[[Scene], None]

_HANG_SECONDS = 25.0
_WORKER_WAIT = 30.0


def kill_worker(scene: Scene) -> None:
    """kill -9 of any worker, whatever it does."""
    workers = scene.stage.workers()
    os.kill(scene.random.choice(workers), signal.SIGKILL)
    replaced(scene, len(workers))


def kills_in_a_row(scene: Scene) -> None:
    """kill -9 three times, while the group has not recovered from the one before."""
    count = len(scene.stage.workers())
    for _ in range(3):
        time.sleep(scene.random.uniform(0.3, 3.0))
        await_that(lambda: len(scene.stage.workers()) == count, "a new worker is started", _WORKER_WAIT)
        os.kill(scene.stage.workers()[0], signal.SIGKILL)
    replaced(scene, count)


def kill_at(step: str, moment: Moment) -> Strike:
    """kill -9 of the worker that comes to this step next."""

    def strike(scene: Scene) -> None:
        workers = len(scene.stage.workers())
        scene.pull(Lever(step, moment, "kill"))
        replaced(scene, workers)

    return strike


def kill_stage(scene: Scene) -> None:
    """The supervisor and its workers at once; a new stage takes its place."""
    scene.stage.kill()
    scene.start_again()
    scene.stage.await_ready()


def zombie(scene: Scene) -> None:
    """SIGSTOP past the session's time-out and past the end of an open transaction, then on."""
    (worker, *_) = scene.stage.workers()
    os.kill(worker, signal.SIGSTOP)
    time.sleep(SESSION + scene.random.uniform(2.0, 4.0))
    os.kill(worker, signal.SIGCONT)


def terminate_at(step: str, moment: Moment) -> Strike:
    """SIGTERM to the stage while a worker is at this step; a new stage goes on."""

    def strike(scene: Scene) -> None:
        scene.pull(Lever(step, moment, "terminate"))
        code = scene.stage.wait()
        scene.expect(code == 0, f"the stage that was told to end did so with code {code}")
        scene.start_again()
        scene.stage.await_ready()

    return strike


def hang(scene: Scene) -> None:
    """A forward that does not come back; its worker must end within the bound, and be replaced."""
    workers = scene.stage.workers()
    scene.levers.ail(ailments.HANGS)
    await_that(lambda: bool(set(workers) - set(scene.stage.workers())), "the hung worker ends", _HANG_SECONDS)
    replaced(scene, len(workers))
    scene.expect("has not come back for" in scene.stage.said(), "nobody said that a step hangs")


def device_fails(scene: Scene) -> None:
    """Every forward fails until the process is another one, as after a sticky error of a device."""
    workers = scene.stage.workers()
    scene.levers.ail(ailments.DEVICE)
    await_that(lambda: bool(set(workers) - set(scene.stage.workers())), "a worker ends", _HANG_SECONDS)
    scene.levers.cure(ailments.DEVICE)
    replaced(scene, len(workers))


def slow_forward(scene: Scene) -> None:
    """One forward takes longer than max.poll.interval.ms."""
    workers = scene.stage.workers()
    scene.pull(Lever("score", "before", "sleep", 6.0))
    time.sleep(6.0)
    scene.expect(scene.stage.workers() == workers, "a worker ended while it computed")
    scene.expect("lost partitions" not in scene.stage.said(), "the group gave the member up")


def replaced(scene: Scene, workers: int) -> None:
    """Until as many workers are there as before."""
    await_that(lambda: len(scene.stage.workers()) == workers, "a new worker is started", _WORKER_WAIT)
