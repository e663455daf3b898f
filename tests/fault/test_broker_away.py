"""The broker stops in its tracks while claims are in flight."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from stream.audit import Topics
from stream.embedded import EmbeddedKafka
from stream.errors import ClaimstreamError
from stream.topics import ensure_topics, stage_topics
from tests.stage import await_that, check, publish, stage

# In batches of four these take seconds, however quick the machine: some are left when the broker stops.
CLAIMS = 20_000


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as started:
        yield started


def prepared(broker: EmbeddedKafka, name: str, claims: int) -> Topics:
    topics = Topics(f"{name}-claims", f"{name}-scores", f"{name}-dead")
    client = {"bootstrap.servers": broker.bootstrap}

    def made() -> bool:
        try:
            ensure_topics(client, stage_topics(topics.claims, topics.scores, topics.dead_letters, 2, 1))
        except ClaimstreamError:
            return False
        return True

    # A broker that stood still takes no topic until its controller has heard of it again.
    await_that(made)
    publish(broker.bootstrap, topics.claims, claims)
    return topics


def test_claims_wait_for_the_broker_and_none_is_lost(broker: EmbeddedKafka) -> None:
    topics = prepared(broker, "waits", CLAIMS)
    with stage(broker.bootstrap, topics, ML_BATCH_SIZE_MIN="4", ML_BATCH_SIZE_MAX="4") as running:
        await_that(lambda: running.delivered() > 0)
        broker.pause()
        time.sleep(4)
        assert running.delivered() < CLAIMS
        broker.resume()
        await_that(lambda: running.delivered() >= CLAIMS)
        assert running.stop() == 0
    finding = check(broker, topics)
    assert (finding.scored, finding.sound) == (CLAIMS, True)


def test_readiness_goes_first_and_a_drain_that_cannot_end_is_given_up_in_time(broker: EmbeddedKafka) -> None:
    topics = prepared(broker, "drains", CLAIMS)
    more = {"ML_BATCH_SIZE_MIN": "4", "ML_BATCH_SIZE_MAX": "4", "CLAIMSTREAM_LATENCY__DRAIN_TIMEOUT_S": "2"}
    with stage(broker.bootstrap, topics, **more) as running:
        await_that(lambda: running.delivered() > 0)
        broker.pause()
        time.sleep(0.5)
        asked = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        await_that(lambda: running.get("/readyz") == (503, "workers are stopping\n"), 2)
        assert running.get("/healthz")[0] == 200
        assert running.process.wait(15) == 1
        assert 1.5 < time.monotonic() - asked < 12
        broker.resume()
        said = running.said()
    assert "claims stay uncommitted" in said or "stays uncommitted" in said


def test_a_second_signal_ends_at_once_and_says_what_is_left(broker: EmbeddedKafka) -> None:
    topics = prepared(broker, "signals", 60_000)
    more = {"ML_BATCH_SIZE_MAX": "32", "CLAIMSTREAM_LATENCY__DRAIN_TIMEOUT_S": "60"}
    with stage(broker.bootstrap, topics, **more) as running:
        await_that(lambda: running.delivered() > 0)
        broker.pause()
        time.sleep(1.5)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        assert running.process.poll() is None
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(5) == 1
        broker.resume()
        said = running.said()
    assert "draining; once more ends at once" in said
    assert "claims in flight stay uncommitted" in said
