"""The wall clock jumps, as NTP makes it do: nothing waits for it, nothing is lost, and what is late says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import schemas
from bench.models_fixture import Unhurried, make_release
from models.eviction import Rules
from models.priority import ModelPriority
from models.release import VersionKey
from models.tiers.budget import Budget
from models.tiers.memory import Lifetime, MemoryTier
from models.tiers.pool import Pool
from models.tiers.protocol import Worth
from stream.clock import ManualClock
from stream.codec import Decoder
from tests.cache_stage import SIZE
from tests.scripted_stage import Stage

HOUR = 3_600.0


class Memory:
    """RAM for two versions, on a clock that can be set; files begin at the real time."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(wall=time.time())
        rules = Rules(2 * SIZE, protection=1.0, in_use=60.0)
        budget = Budget("the budget of RAM", rules, self.worth, self.clock.now)
        self.tier = MemoryTier(
            Pool(folder / "pool", 2 * SIZE), budget, Lifetime(1_800.0, 600.0), self.clock.wall
        )

    def worth(self, key: VersionKey) -> Worth:
        """What is newer is worth more; what is older is of a higher class."""
        newer = key.name in ("b", "c")
        priority = ModelPriority.MEDIUM if newer else ModelPriority.HIGH
        return Worth(0.9 if newer else 1e-6, 0.9 if newer else 1e-6, priority=priority)

    def store(self, name: str) -> VersionKey:
        release, content = make_release(name, "1.0.0", {"weights.bin": SIZE})
        self.tier.store(release, content, Unhurried())
        self.clock.advance(90.0)
        return release.key


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    made = Memory(tmp_path)
    yield made
    made.tier.close()


def test_memory_makes_room_though_the_clock_was_set_back(memory: Memory) -> None:
    """Neither protected, as one that was just loaded, nor in use, as one of a higher priority may be."""
    for name in ("a", "another"):
        memory.store(name)
    memory.clock.step_wall(-HOUR)
    newcomers = [memory.store("b"), memory.store("c")]
    assert memory.tier.holds(newcomers[-1])
    assert len(memory.tier.entries()) == 2


def test_what_a_clock_set_back_has_made_young_grows_old_from_then_on(memory: Memory) -> None:
    keys = [memory.store(name) for name in ("b", "c")]
    memory.clock.step_wall(-HOUR)
    assert memory.tier.expire() == []
    assert all(-1.0 < entry.age < 1.0 for entry in memory.tier.entries())
    memory.clock.advance(599.0)
    assert memory.tier.expire() == []
    memory.clock.advance(2.0)
    assert sorted(memory.tier.expire()) == sorted(keys)


@pytest.mark.parametrize(("jump", "late"), [(-HOUR, 0), (HOUR, 50)])
def test_claims_are_scored_whatever_the_wall_clock_says(jump: float, late: int) -> None:
    stage = Stage()
    stage.publish(50)
    stage.run(2)
    stage.publish(50, start=50)
    stage.clock.step_wall(jump)
    stage.run()
    assert len(stage.producer.sent) == 100
    assert stage.count("deadline_missed_total") == late
    assert stage.consumer.commits[-1] == {0: 100}
    stage.clock.step_wall(-jump)
    stage.publish(50, start=100)
    stage.run()
    assert len(stage.producer.sent) == 150
    assert stage.count("deadline_missed_total") == late


def test_a_clock_that_jumps_while_claims_wait_changes_no_deadline() -> None:
    stage = Stage()
    stage.publish(50)
    stage.step("intake")
    before = stage.arena.deadline.copy()
    for jump in (HOUR, -2 * HOUR):
        stage.clock.step_wall(jump)
        stage.step("intake")
    assert (stage.arena.deadline == before).all()
    stage.run()
    assert (len(stage.producer.sent), stage.count("deadline_missed_total")) == (50, 0)


@pytest.mark.parametrize("written", [0, -1, 4_000_000_000_000])
def test_a_record_without_a_timestamp_or_from_the_future_counts_as_written_now(written: int) -> None:
    stage = Stage()
    stage.publish(50)
    for record in stage.consumer.records:
        record._timestamp = written
    stage.run()
    latency = stage.metrics.snapshot().histograms["stage_latency_seconds", ()]
    assert (latency.counts.sum(), latency.total) == (50, 0.0)
    assert stage.count("deadline_missed_total") == 0
    scores = (
        Decoder(schemas.load("claim_score")).decode([value for _, _, value in stage.producer.sent]).claims
    )
    assert set(scores.column("queue_ms").to_pylist()) == {0.0}
    assert set(scores.column("deadline_missed").to_pylist()) == {False}
    assert scores.column("input_timestamp").cast("int64").to_pylist() == [written] * 50


@pytest.mark.parametrize(("written", "counted"), [(0, 0), (-1, 0), (4_000_000_000_000, 50)])
def test_the_age_at_reading_is_never_negative_and_none_is_told_of_a_record_without_a_timestamp(
    written: int, counted: int
) -> None:
    stage = Stage()
    stage.publish(100)
    for record in list(stage.consumer.records)[:50]:
        record._timestamp = written
    stage.clock.advance(0.03)
    stage.step("intake")
    read = stage.metrics.snapshot().histograms["claim_age_at_read_seconds", ()]
    assert (read.counts.sum(), read.total) == (50 + counted, pytest.approx(50 * 0.03, abs=1e-3))
