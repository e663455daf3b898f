"""Models that come and go while claims are scored: promotion, shares, absence, failures."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import schemas
from models import DeviceError, VersionKey, open_model
from models.errors import LoadFailedError
from stream.batching import Chosen
from stream.codec import Decoder
from stream.errors import FatalError, RetryError
from stream.lanes import Lanes
from tests.scripted_stage import Stage

SECOND = VersionKey("null", "2.0.0", "second")


class Renamed:
    """Another version of a model; with `spec`, one that reads other features."""

    def __init__(self, inner: Any, version: str, spec: str | None = None) -> None:
        self._inner = inner
        self.identity = replace(inner.identity, version=version)
        self.spec_digest = spec or inner.spec_digest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture(params=[None, "another-spec"])
def stage(request: pytest.FixtureRequest) -> Stage:
    made = Stage()
    made.models.versions[SECOND] = Renamed(open_model("null"), "2.0.0", request.param)
    return made


def versions(stage: Stage) -> Counter[str]:
    """How many results each version gave."""
    values = [value for _, _, value in stage.producer.sent]
    scores = Decoder(schemas.load("claim_score")).decode(values).claims.column("scores").to_pylist()
    return Counter(entry["version"] for claim in scores for entry in claim)


def test_a_promoted_version_takes_over_once_it_is_there(stage: Stage) -> None:
    stage.publish(60)
    stage.run(10)
    stage.models.meaning = ((SECOND, 1),)
    stage.publish(60, start=60)
    stage.run(230)
    assert stage.models.begun == [SECOND]
    assert versions(stage) == {"1.0.0": 120}
    stage.models.landed.add(SECOND)
    stage.run(2)
    stage.publish(60, start=120)
    stage.run(20)
    assert versions(stage) == {"1.0.0": 120, "2.0.0": 60}
    assert +stage.models.leases == Counter()


def test_claims_that_wait_keep_the_version_they_were_given(stage: Stage) -> None:
    stage.models.meaning = ((SECOND, 1),)
    stage.models.landed.add(SECOND)
    stage.clock.advance(2.5)
    stage.publish(4)
    stage.step("intake", "loading", "loading", "loading")
    stage.publish(4, start=4)
    stage.step("intake")
    stage.run(20)
    assert versions(stage) == {"1.0.0": 4, "2.0.0": 4}


def test_shares_split_claims_by_their_key(stage: Stage) -> None:
    stage.models.meaning = ((stage.models.first, 1), (SECOND, 1))
    stage.models.landed.add(SECOND)
    stage.clock.advance(2.5)
    stage.step("loading", "loading", "loading")
    stage.publish(210)
    stage.run(30)
    given = versions(stage)
    # Seven keys, each with thirty claims: a version gets all of a key or none.
    assert sum(given.values()) == 210
    assert set(given) == {"1.0.0", "2.0.0"}
    assert all(count % 30 == 0 for count in given.values())


def test_shares_split_claims_without_a_key_by_who_they_are(stage: Stage) -> None:
    stage.models.meaning = ((stage.models.first, 1), (SECOND, 1))
    stage.models.landed.add(SECOND)
    stage.clock.advance(2.5)
    stage.step("loading", "loading", "loading")
    stage.publish(210, keyed=False)
    stage.run(30)
    given = versions(stage)
    assert sum(given.values()) == 210
    assert all(60 <= given[version] <= 150 for version in ("1.0.0", "2.0.0"))


def test_a_version_that_cannot_be_loaded_changes_nothing(stage: Stage) -> None:
    stage.models.meaning = ((SECOND, 1),)
    stage.models.broken.add(SECOND)
    stage.clock.advance(2.5)
    stage.publish(50)
    stage.run(400)
    assert versions(stage) == {"1.0.0": 50}
    assert 2 <= stage.count("model_load_failures_total", "null", "2.0.0") <= 4
    assert stage.ledger.pending() == 0


@pytest.mark.parametrize("promoted", [True, False])
def test_a_load_that_cannot_begin_is_put_off(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, promoted: bool
) -> None:
    def begin(key: VersionKey) -> None:
        raise LoadFailedError(f"{key}: not loaded: can't start new thread; allow more threads")

    wanted = SECOND if promoted else stage.models.first
    if promoted:
        stage.models.meaning = ((SECOND, 1),)
    else:
        stage.models.on_device.clear()
    stage.models.landed.add(wanted)
    stage.clock.advance(2.5)
    stage.publish(50)
    with monkeypatch.context() as short:
        short.setattr(stage.models, "begin", begin)
        stage.run(100)
    tries = stage.count("model_load_failures_total", wanted.name, wanted.version)
    assert 1 <= tries <= 3
    assert stage.models.begun == []
    stage.run(1_000)
    assert stage.models.begun == [wanted]
    assert versions(stage) == {"1.0.0": 50}
    assert stage.ledger.pending() == 0


def test_a_device_that_failed_while_a_version_was_loaded_ends_the_worker(stage: Stage) -> None:
    stage.models.meaning = ((SECOND, 1),)
    stage.models.broken.add(SECOND)
    stage.models.failure = DeviceError("cuda:0: CUDA error: an illegal memory access was encountered")
    stage.clock.advance(2.5)
    with pytest.raises(FatalError, match=r"null:2\.0\.0 cannot go on: cuda:0: CUDA error"):
        stage.step("loading")


def test_claims_wait_for_a_model_that_left_and_lose_nothing() -> None:
    stage = Stage()
    stage.models.on_device.clear()
    stage.publish(50)
    stage.run(20)
    assert stage.producer.sent == []
    assert stage.models.begun == [stage.models.first]
    stage.models.landed.add(stage.models.first)
    stage.run(20)
    assert len(stage.producer.sent) == 50
    assert stage.ledger.pending() == 0
    assert +stage.models.leases == Counter()


def test_a_model_that_leaves_between_look_and_lease_costs_nothing() -> None:
    stage = Stage()
    stage.publish(50)
    stage.step("intake")
    holds = stage.models.holds
    stage.models.holds = lambda _: True  # type: ignore[method-assign]
    stage.models.on_device.clear()
    stage.clock.advance(1.0)
    stage.step("scoring")
    assert stage.producer.sent == []
    stage.models.holds = holds  # type: ignore[method-assign]
    stage.models.landed.add(stage.models.first)
    stage.run(20)
    assert len(stage.producer.sent) == 50


def test_a_batch_keeps_its_model_though_the_lane_is_empty() -> None:
    stage = Stage()
    stage.models.on_device.clear()
    stage.publish(5)
    stage.step("intake", "loading")
    stage.models.landed.add(stage.models.first)
    stage.step("loading")
    # Served without being cached: only the loader's lease keeps it, and only while its claims wait.
    stage.models.on_device.clear()
    stage.clock.advance(1.0)
    chosen = stage.pipeline.batcher.next(stage.clock.now())
    assert isinstance(chosen, Chosen)
    stage.step("loading")
    assert +stage.models.leases == Counter({stage.models.first: 1})
    with chosen.lease as model:
        assert len(stage.pipeline.scorer.score(chosen.batch, model).rows) == 5
    assert stage.models.begun == [stage.models.first]
    assert +stage.models.leases == Counter()


def test_what_is_let_go_in_the_moment_of_sharing_is_not_shared() -> None:
    stage = Stage()
    stage.models.on_device.clear()
    stage.publish(5)
    stage.step("intake", "loading")
    stage.models.landed.add(stage.models.first)
    stage.step("loading")
    stage.models.on_device.clear()
    loader = stage.pipeline.loader
    held = loader._held[stage.models.first]
    share = held.share
    held.share = lambda: (loader.close(), share())[1]  # type: ignore[method-assign, func-returns-value]
    assert loader.resident(0) is None
    assert +stage.models.leases == Counter()


def test_claims_whose_version_is_gone_are_scored_by_the_one_that_serves(stage: Stage) -> None:
    first = stage.models.first
    stage.publish(50)
    stage.step("intake")
    stage.models.on_device.discard(first)
    stage.models.broken.add(first)
    stage.models.meaning = ((SECOND, 1),)
    stage.models.landed.add(SECOND)
    stage.clock.advance(2.5)
    stage.run(40)
    assert versions(stage) == {"2.0.0": 50}
    assert stage.count("claims_reassigned_total") == 50
    assert stage.ledger.pending() == 0
    assert +stage.models.leases == Counter()


def test_claims_wait_for_a_version_that_still_serves(stage: Stage) -> None:
    stage.publish(50)
    stage.step("intake")
    stage.models.on_device.clear()
    stage.models.broken.add(stage.models.first)
    stage.run(300)
    assert stage.count("claims_reassigned_total") == 0
    assert stage.ledger.pending() == 50


def test_claims_of_a_gone_version_wait_while_the_registry_is_away(stage: Stage) -> None:
    stage.publish(20)
    stage.step("intake")
    lane, decoder = 0, stage.pipeline.admission._decoder
    decode = decoder.decode

    def away(_: object) -> Any:
        raise RetryError("the registry is away")

    decoder.decode = away  # type: ignore[method-assign]
    with pytest.raises(RetryError):
        stage.pipeline.admission.readmit(lane)
    decoder.decode = decode  # type: ignore[method-assign]
    stage.run(20)
    assert versions(stage) == {"1.0.0": 20}


def test_features_that_no_version_reads_any_more_are_let_go() -> None:
    stage = Stage()
    stage.models.versions[SECOND] = Renamed(open_model("null"), "2.0.0", "another-spec")
    stage.publish(20)
    stage.step("intake")
    stage.models.meaning = ((SECOND, 1),)
    stage.models.landed.add(SECOND)
    stage.clock.advance(2.5)
    stage.step("loading", "loading", "loading")
    stage.publish(20, start=20)
    stage.step("intake")
    assert len(stage.arena.features) == 2
    stage.run(150)
    assert versions(stage) == {"1.0.0": 20, "2.0.0": 20}
    assert set(stage.arena.features) == {"another-spec"}


def test_what_is_expected_is_forgotten_when_nothing_is_away() -> None:
    stage = Stage()
    stage.models.on_device.clear()
    stage.publish(5)
    stage.step("intake", "loading")
    assert stage.models.expected == [stage.models.first]
    stage.models.landed.add(stage.models.first)
    stage.run(20)
    assert stage.models.expected == []


def test_a_late_claim_does_not_bring_a_retired_lane_back() -> None:
    lanes, rows, deadlines = Lanes(2), np.arange(4, dtype=np.int32), np.full(4, 9.0)
    lanes.push(0, rows, deadlines, 1.0)
    lanes.push(1, rows, deadlines, 1.0)
    lanes.serve({1})
    lanes.empty(0)
    lanes.push(0, rows[:1], deadlines[:1], 2.0)
    lanes.empty(0)
    assert lanes.ahead(2.0) == 4
    lanes.serve({0, 1})
    assert lanes.ahead(2.0) == 0


def test_where_a_load_pushes_another_out_it_waits_for_more_claims() -> None:
    stage = Stage()
    stage.models.on_device.clear()
    stage.models.roomy = False
    stage.publish(5)
    stage.run(20)
    # The budget of 200 ms is less than the half second that a load takes, so haste would help nobody.
    assert stage.models.begun == []
    stage.run(40)
    assert stage.models.begun == [stage.models.first]
    assert stage.count("model_loads_begun_total", "break-even") == 1


def test_a_drain_loads_at_once() -> None:
    stage = Stage()
    stage.models.on_device.clear()
    stage.models.roomy = False
    stage.publish(5)
    stage.step("intake")
    stage.models.landed.add(stage.models.first)
    stage.pipeline.drain()
    stage.step("loading")
    assert stage.models.begun == [stage.models.first]
    assert stage.count("model_loads_begun_total", "drain") == 1
