"""A stage that is told to stop at any moment of its life ends in time, and what it read is answered once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from stream.audit import Topics
from tests.stage import await_that, check, publish, read, stage

pytestmark = pytest.mark.slow


@pytest.mark.timeout(400)
def test_a_stage_told_to_stop_at_any_moment_answers_each_claim_once(
    kafka: Any, topic: Callable[..., str]
) -> None:
    topics = Topics(topic(partitions=4), topic(partitions=4), topic())
    publish(kafka.bootstrap, topics.claims, 20_000)
    for tenths in range(0, 80, 10):
        with stage(
            kafka.bootstrap, topics, workers=2, ML_BATCH_SIZE_MIN="16", ML_BATCH_SIZE_MAX="16"
        ) as running:
            time.sleep(tenths / 10)
            asked = time.monotonic()
            # Before the interpreter runs a line of it a signal ends it as it ends every process.
            code = running.stop()
            assert code in ({0} if tenths else {0, -15}), running.said()
            assert time.monotonic() - asked < 25
    with stage(kafka.bootstrap, topics, workers=2) as running:
        await_that(lambda: check(kafka, topics).lost == 0, 120)
        assert running.stop() == 0
    finding = check(kafka, topics)
    assert (finding.published, finding.scored, finding.sound) == (20_000, 20_000, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.6, 1.5])
def test_a_signal_to_the_whole_group_while_workers_start_is_a_clean_end(
    kafka: Any, topic: Callable[..., str], seconds: float, number: signal.Signals
) -> None:
    topics = Topics(topic(), topic(), topic())
    with stage(kafka.bootstrap, topics, workers=2, group=True) as running:
        await_that(lambda: len(running.workers()) == 2)
        time.sleep(seconds)
        os.killpg(running.process.pid, number)
        code = running.process.wait(30)
        assert (code, "Traceback" in running.said()) == (0, False)


def test_publish_that_is_told_to_end_brings_what_it_gave_to_the_broker_and_says_how_much(
    kafka: Any, topic: Callable[..., str]
) -> None:
    name = topic()
    command = [sys.executable, "-m", "stream", "publish", "--generate", "90000", "--rate", "400", "--json"]
    process = subprocess.Popen(
        [*command, "--topic", name, "--bootstrap", kafka.bootstrap],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    await_that(lambda: len(read(kafka, name)) > 0)
    process.send_signal(signal.SIGTERM)
    out, said = process.communicate(timeout=30)
    published = json.loads(out)["published"]
    assert (process.returncode, published) == (1, len(read(kafka, name))), said
    assert f"told to stop after {published} of 90000 claims" in said
