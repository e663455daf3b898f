"""Members that come and go, on a real broker; what strikes them is in `test_real_brokers.py`."""

from __future__ import annotations

import subprocess
import sys
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
    with stage(kafka.bootstrap, topics, **more, **named("first")) as first:
        ready(first)
        claims = publishing(kafka, topics, 300, 30)
        with stage(kafka.bootstrap, topics, **more, **named("second")) as second:
            ready(second)
            await_that(lambda: second.delivered() > 300)
            assert first.stop() in {0, 1}
            assert claims.wait(60) == 0
            all_answered(kafka, topics)
            assert second.stop() == 0
    finding = check(kafka, topics)
    assert (finding.published, finding.sound) == (9_000, True)


def test_a_static_member_gets_its_partitions_back(kafka: Any, topics: Topics) -> None:
    more = {"CLAIMSTREAM_KAFKA__STATIC_MEMBERSHIP": "true", **QUICK, **named("one")}
    for round_ in (1, 2):
        publish(kafka.bootstrap, topics.claims, 1_000, seed=round_)
        with stage(kafka.bootstrap, topics, **more) as running:
            await_that(lambda: running.delivered() == 1_000)
            assert running.stop() == 0
    assert check(kafka, topics).sound
    assert len(read(kafka, topics.scores)) == 2_000
