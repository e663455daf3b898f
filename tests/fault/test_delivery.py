"""Members that come, go, are killed, stand still or have a twin, on a real broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from stream.audit import Topics
from tests.stage import QUICK, RunningStage, await_that, check, publish, read, stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

EXACTLY_ONCE = {"CLAIMSTREAM_KAFKA__DELIVERY": "exactly_once"}
SMALL = {"ML_BATCH_SIZE_MIN": "8", "ML_BATCH_SIZE_MAX": "32"}
KIP_848 = {"CLAIMSTREAM_KAFKA__CONSUMER__GROUP_PROTOCOL": "consumer"}


@pytest.fixture
def topics(topic: Callable[..., str]) -> Topics:
    return Topics(topic(partitions=4), topic(partitions=4), topic(partitions=1))


def publishing(kafka: Any, topics: Topics, rate: int, seconds: int) -> subprocess.Popen[bytes]:
    """Claims at a rate, by `claimstream publish` in a process of its own."""
    what = ["publish", "--generate", str(rate * seconds), "--rate", str(rate), "--topic", topics.claims]
    return subprocess.Popen([sys.executable, "-m", "stream", *what, "--bootstrap", kafka.bootstrap])


def named(name: str) -> dict[str, str]:
    return {"CLAIMSTREAM_KAFKA__INSTANCE": name}


def ready(running: RunningStage) -> None:
    await_that(lambda: running.get("/readyz")[0] == 200)


def all_answered(kafka: Any, topics: Topics) -> None:
    await_that(lambda: check(kafka, topics).lost == 0, 90)


@pytest.mark.parametrize("delivery", [{}, EXACTLY_ONCE], ids=["at_least_once", "exactly_once"])
@pytest.mark.parametrize("protocol", [{}, KIP_848], ids=["cooperative", "kip848"])
def test_a_member_joins_and_another_leaves(
    kafka: Any, topics: Topics, delivery: dict[str, str], protocol: dict[str, str]
) -> None:
    more = {**delivery, **protocol, **SMALL}
    claims = publishing(kafka, topics, 300, 30)
    with stage(kafka.bootstrap, topics, **more, **named("first")) as first:
        ready(first)
        with stage(kafka.bootstrap, topics, **more, **named("second")) as second:
            ready(second)
            await_that(lambda: second.delivered() > 300)
            assert first.stop() in {0, 1}
            assert claims.wait(60) == 0
            all_answered(kafka, topics)
            assert second.stop() == 0
    finding = check(kafka, topics)
    assert (finding.published, finding.sound) == (9_000, True)


def test_every_kill_under_load_leaves_no_duplicate(kafka: Any, topics: Topics) -> None:
    claims = publishing(kafka, topics, 400, 25)
    with stage(kafka.bootstrap, topics, workers=2, **EXACTLY_ONCE, **SMALL, **QUICK) as running:
        ready(running)
        for _ in range(3):
            time.sleep(2.5)
            await_that(lambda: len(running.workers()) == 2)
            os.kill(running.workers()[0], signal.SIGKILL)
        assert claims.wait(60) == 0
        all_answered(kafka, topics)
        assert running.stop() == 0
    finding = check(kafka, topics)
    assert (finding.published, finding.sound) == (10_000, True)


def test_a_member_that_stood_still_is_fenced(kafka: Any, topics: Topics) -> None:
    more = {**EXACTLY_ONCE, **SMALL, **QUICK}
    claims = publishing(kafka, topics, 300, 40)
    with (
        stage(kafka.bootstrap, topics, **more, **named("first")) as first,
        stage(kafka.bootstrap, topics, **more, **named("second")) as second,
    ):
        ready(first)
        ready(second)
        await_that(lambda: first.delivered() > 0)
        (zombie,) = first.workers()
        os.kill(zombie, signal.SIGSTOP)
        # Longer than its session, and longer than its open transaction may last.
        time.sleep(14)
        os.kill(zombie, signal.SIGCONT)
        assert claims.wait(60) == 0
        all_answered(kafka, topics)
        assert second.stop() == 0
        first.stop()
    finding = check(kafka, topics)
    assert (finding.published, finding.sound) == (12_000, True)


def test_a_twin_with_the_same_transactional_id_is_fenced_and_says_so(kafka: Any, topics: Topics) -> None:
    more = {**EXACTLY_ONCE, **SMALL, **QUICK, **named("twin")}
    publish(kafka.bootstrap, topics.claims, 3_000)
    with stage(kafka.bootstrap, topics, **more) as first:
        ready(first)
        await_that(lambda: first.delivered() > 0)
        with stage(kafka.bootstrap, topics, **more) as second:
            ready(second)
            publish(kafka.bootstrap, topics.claims, 3_000, seed=6)
            all_answered(kafka, topics)
            first.stop()
            second.stop()
            said = first.said() + second.said()
    assert "another worker has its transactional.id" in said
    assert check(kafka, topics).sound


def test_a_second_member_of_one_static_name_ends_the_first_and_says_so(kafka: Any, topics: Topics) -> None:
    more = {"CLAIMSTREAM_KAFKA__STATIC_MEMBERSHIP": "true", **QUICK, **named("twin")}
    publish(kafka.bootstrap, topics.claims, 1_000)
    with stage(kafka.bootstrap, topics, **more) as first:
        await_that(lambda: first.delivered() == 1_000)
        with stage(kafka.bootstrap, topics, **more) as second:
            ready(second)
            time.sleep(3)
            second.stop()
            first.stop()
            said = first.said() + second.said()
    assert "another member of the group has this one's group.instance.id" in said
    assert check(kafka, topics).lost == 0


def test_a_static_member_gets_its_partitions_back(kafka: Any, topics: Topics) -> None:
    more = {"CLAIMSTREAM_KAFKA__STATIC_MEMBERSHIP": "true", **QUICK, **named("one")}
    for round_ in (1, 2):
        publish(kafka.bootstrap, topics.claims, 1_000, seed=round_)
        with stage(kafka.bootstrap, topics, **more) as running:
            await_that(lambda: running.delivered() == 1_000)
            assert running.stop() == 0
    assert check(kafka, topics).sound
    assert len(read(kafka, topics.scores)) == 2_000
