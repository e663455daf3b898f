"""Workers that end: a crash loop is seen from outside, and what every worker would meet ends the stage."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from stream.audit import Topics
from tests.stage import QUICK, RunningStage, await_that, check, publish, stage

pytestmark = pytest.mark.slow


@pytest.fixture
def topics(topic: Callable[..., str]) -> Topics:
    return Topics(topic(partitions=2), topic(partitions=2), topic())


def workers(running: RunningStage) -> list[int]:
    """None while one that ended is not started again yet."""
    with suppress(subprocess.CalledProcessError):
        return running.workers()
    return []


def number(running: RunningStage, name: str) -> float:
    lines = running.get("/metrics")[1].splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"claimstream_{name} ")), -1.0)


def test_a_crash_loop_shows_in_metrics_readiness_and_log(kafka: Any, topics: Topics) -> None:
    publish(kafka.bootstrap, topics.claims, 3_000)
    with stage(kafka.bootstrap, topics, **QUICK) as running:
        for crash in range(1, 4):
            await_that(lambda: len(workers(running)) == 1)
            os.kill(workers(running)[0], signal.SIGKILL)
            await_that(lambda crashes=crash: number(running, "worker_restarts_total") == crashes)
        assert number(running, "workers_crash_looping") == 1
        assert running.get("/readyz") == (
            503,
            "worker 0 ended 3 times in a row: ended with code -9 without a word\n",
        )
        await_that(lambda: check(kafka, topics).lost == 0 and number(running, "partitions_owned") == 2)
        assert running.get("/readyz")[0] == 503
        assert running.stop() == 0
        said = running.said()
    assert "3 times in a row; it starts again in" in said
    assert "the stage is not ready while it goes on like this" in said


def test_what_every_worker_would_meet_ends_the_stage_as_bad_usage(kafka: Any, topics: Topics) -> None:
    with stage(kafka.bootstrap, topics, workers=2, CLAIMSTREAM_SCHEMAS__INPUT="/absent.avsc") as running:
        assert running.process.wait(40) == 2
        said = running.said()
    assert "the stage stops: UsageError: schemas: there is no '/absent.avsc'" in said
    assert "Traceback" not in said
