"""Nothing leaves for a minute, while claims for a while longer are in the client's own queue."""

from __future__ import annotations

import json
import time

import psutil
import pytest

from stream.audit import Topics
from stream.embedded import EmbeddedKafka
from stream.topics import ensure_topics, stage_topics
from tests.stage import RunningStage, await_that, check, publish, stage

CLAIMS, BLOCKED = 200_000, 60.0
IN_FLIGHT = 16_384 + 2_000


def worker(running: RunningStage) -> psutil.Process:
    (number,) = running.workers()
    return psutil.Process(number)


def gauge(running: RunningStage, name: str) -> float:
    lines = running.get("/metrics")[1].splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"claimstream_{name} "))


def flow(running: RunningStage) -> str:
    told: str = json.loads(running.get("/ml/batching")[1])["workers"][0]["flow"]
    return told


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_stays_flat_reading_stops_and_nothing_is_lost() -> None:
    topics = Topics("blocked-claims", "blocked-scores", "blocked-dead")
    with EmbeddedKafka() as broker:
        client = {"bootstrap.servers": broker.bootstrap}
        ensure_topics(client, stage_topics(topics.claims, topics.scores, topics.dead_letters, 2, 1))
        publish(broker.bootstrap, topics.claims, CLAIMS)
        with stage(broker.bootstrap, topics) as running:
            await_that(lambda: running.delivered() > 0)
            broker.pause()
            blocked = time.monotonic()
            await_that(lambda: flow(running) == "pause", 20)
            time.sleep(3.0)
            before, delivered = worker(running).memory_info().rss, running.delivered()
            time.sleep(max(blocked + BLOCKED - time.monotonic(), 0.0))
            assert worker(running).memory_info().rss - before < 20_000_000
            assert gauge(running, "claims_in_flight") <= IN_FLIGHT
            assert running.delivered() == delivered < CLAIMS
            assert running.get("/healthz")[0] == 200
            broker.resume()
            await_that(lambda: check(broker, topics).lost == 0, 90)
            assert running.stop() == 0
        # The session ended meanwhile, so that what was delivered and not committed is scored once more.
        finding = check(broker, topics)
    assert (finding.lost, finding.mismatched, finding.wrong_lineage, finding.out_of_order) == (0, 0, 0, 0)
