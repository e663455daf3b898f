"""What is given back at a revoke: what was never begun at once, what is in flight when it is delivered."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from bench.faults.claims import Kind, pool
from bench.faults.driver import Driver
from bench.faults.models import Versions
from bench.faults.workers import Place
from bench.faults.workers import Stage as SimulatedStage
from config import Settings
from stream.clock import ManualClock
from stream.codec import Decoder
from stream.embedded.simulated import SimulatedKafka
from stream.errors import RetryError
from stream.worker import Progress
from tests.scripted_stage import Stage

DRAIN_SECONDS = 20.0


class Passing:
    """In place of an event: whoever waits lets the steps run that deliver, and time pass."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def set(self) -> None: ...

    def clear(self) -> None: ...

    def wait(self, timeout: float) -> None:
        self._stage.step("scoring", "output")
        self._stage.producer.acknowledge(len(self._stage.producer))
        self._stage.clock.advance(timeout)


def in_service() -> Stage:
    """A stage that drains as a worker does."""
    stage = Stage()
    progress = Progress(stage.ledger, stage.clock, DRAIN_SECONDS, Passing(stage))
    progress.connect(stage.pipeline, {})
    stage.pipeline.consumer._drain = progress.drain
    return stage


def away(*_: object) -> None:
    raise RetryError("the schema registry cannot be reached")


def read_and_not_begun(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty claims of partition 0 in flight; a hundred more, and thirty of partition 1, wait for their schemas."""
    stage.publish(50)
    stage.step("intake")
    with monkeypatch.context() as patch:
        patch.setattr(stage.pipeline.admission, "prepare", away)
        stage.publish(100, start=50)
        stage.publish(30, partition=1)
        stage.step("intake")
    assert (stage.arena.in_flight, stage.ledger.pending([0]), stage.ledger.pending([1])) == (50, 150, 30)


def test_a_revoke_waits_for_what_is_in_flight_and_gives_the_rest_back_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = in_service()
    read_and_not_begun(stage, monkeypatch)
    started = stage.clock.now()
    stage.revoke(0)
    assert stage.clock.now() - started < 0.01 * DRAIN_SECONDS
    assert stage.consumer.commits == [{0: 50}]
    assert stage.ledger.pending() == 30
    stage.assign(0)
    stage.publish(100, start=50)
    stage.clock.advance(60.0)
    stage.run(80)
    assert len(stage.producer.sent) == 50 + 100 + 30
    assert stage.consumer.standing[0].offset == 150
    assert stage.count("stale_results_total") == 0


def test_a_revoke_gives_back_at_once_what_the_full_store_has_no_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = in_service()
    monkeypatch.setattr(type(stage.arena), "free", 0)
    stage.publish(100)
    stage.step("intake")
    assert stage.ledger.pending() == 100
    started = stage.clock.now()
    stage.revoke(0)
    assert stage.clock.now() == started
    assert stage.consumer.commits == []


def test_a_stage_that_is_told_to_end_leaves_to_others_what_it_has_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = in_service()
    read_and_not_begun(stage, monkeypatch)
    stage.pipeline.closing = True
    # By another thread than intake's, whose reads are not its to give up.
    stage.pipeline.drain()
    assert stage.pipeline.unfinished() == 180
    stage.step("intake")
    assert stage.pipeline.unfinished() == 50
    stage.run()
    assert stage.pipeline.unfinished() == 0
    assert stage.consumer.standing[0].offset == 50


def published(kafka: SimulatedKafka, count: int) -> None:
    """As many claims in each of two partitions."""
    for claim in pool()[Kind.SOUND][:count]:
        for partition in (0, 1):
            kafka.write("claims", partition, claim.value, b"key")


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_member_that_joins_while_the_registry_is_away_gets_its_partitions_at_once(
    delivery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, unreachable = Decoder.learn, [True]

    def learned(self: Decoder, values: Sequence[bytes | None]) -> Any:
        return away() if unreachable[0] else learn(self, values)

    monkeypatch.setattr(Decoder, "learn", learned)
    driver = Driver(random.Random(1), ManualClock())
    kafka = SimulatedKafka(driver.clock, waiting=driver.run_for)
    for topic in ("claims", "scores", "dead"):
        kafka.create_topic(topic, 2)
    settings = Settings.model_validate(
        {
            "kafka": {
                "group_id": "group",
                "delivery": delivery,
                "topics": {"input": "claims", "output": "scores", "dead_letters": "dead"},
            },
            "routes": {"*": ["quick"]},
            "latency": {"drain_timeout_s": DRAIN_SECONDS},
        }
    )
    stage = SimulatedStage(driver, kafka, settings, Versions(["quick"]), {"quick": 0.001}, random.Random(1))
    first, second = Place(0, stage), Place(1, stage)
    published(kafka, 20)
    first.start()
    driver.run_for(2.0)
    second.start()
    driver.run_for(3.0)
    assert [each.partition for each in kafka.readings if "worker 1" in each.process] != []
    unreachable[0] = False
    driver.run_for(60.0)
    assert len(kafka.messages("scores")) == 40
    assert {p: kafka.group("group").offsets["claims", p][0] for p in (0, 1)} == {0: 20, 1: 20}
    assert first.ends == second.ends == []
