"""Versions that change under a running stage, and its cache as an operator sees it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import schemas
from models.housekeeping import Housekeeping
from models.publishing import push
from models.repository import SHIPPED, Repository
from stream.audit import Topics
from stream.codec import Decoder
from tests.stage import RunningStage, await_that, check, publish, read, stage

TOKEN = "a-token-for-tests"
WORKERS = 2


@pytest.fixture
def topics(topic: Callable[..., str]) -> Topics:
    return Topics(topic(partitions=4), topic(partitions=4), topic(partitions=1))


def versions(kafka: Any, topics: Topics) -> Counter[str]:
    """How many results each version gave."""
    values = [message.value() for message in read(kafka, topics.scores)]
    claims = Decoder(schemas.load("claim_score")).decode(values).claims
    return Counter(score["version"] for scores in claims.column("scores").to_pylist() for score in scores)


def tiers(running: RunningStage) -> dict[str, Any]:
    view = json.loads(running.get("/ml/cache/status")[1])
    return {tier["tier"]: tier for tier in view["tiers"]}


def test_a_promoted_version_scores_within_five_seconds_in_every_process(
    kafka: Any, topics: Topics, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "repository")
    push(repository, SHIPPED / "claims_filter" / "2.1.0", version="2.2.0")
    keeper = Housekeeping(repository, time.time, time.monotonic)
    keeper.promote("claims_filter", "2.1.0", "production")
    environment = {
        "CLAIMSTREAM_CACHE__REPOSITORY": str(tmp_path / "repository"),
        "CLAIMSTREAM_CACHE__MEMORY_FOLDER": str(tmp_path / "pool"),
        "ML_CACHE_L1_MEMORY_GB": "0.1",
        "CLAIMSTREAM_CACHE__REDIS_URL": "",
        "CLAIMSTREAM_HTTP__TOKEN": TOKEN,
        "ML_PRELOAD_MODELS": "",
        "ML_GPU_DEVICE_IDS": "",
    }
    model = "claims_filter:production"
    with stage(kafka.bootstrap, topics, WORKERS, model, **environment) as running:
        await_that(lambda: running.get("/readyz")[0] == 200)
        publish(kafka.bootstrap, topics.claims, 400, seed=1)
        await_that(lambda: running.delivered() == 400)
        keeper.promote("claims_filter", "2.2.0", "production")
        time.sleep(5.0)
        publish(kafka.bootstrap, topics.claims, 400, seed=2)
        await_that(lambda: running.delivered() == 800)
        assert versions(kafka, topics) == {"2.1.0": 400, "2.2.0": 400}
        _look_and_order(running)
        assert running.stop() == 0
    finding = check(kafka, topics)
    assert (finding.scored, finding.lost, finding.duplicated) == (800, 0, 0)
    assert not (tmp_path / "pool").exists()


def _look_and_order(running: RunningStage) -> None:
    await_that(lambda: tiers(running)["device"]["served"] > 0)
    seen = tiers(running)
    held = {entry["version"]: entry for entry in seen["memory"]["entries"]}
    assert set(held) == {"2.1.0", "2.2.0"}
    # One load from the repository an instance and version, whatever the number of its processes.
    assert seen["repository"]["bytes_loaded"] == sum(entry["bytes"] for entry in held.values())
    assert len(seen["device"]["used"]) == WORKERS
    assert running.order("evict", ["claims_filter:2.1.0"], "a-wrong-token")[0] == 401
    status, answer = running.order("evict", ["claims_filter:2.1.0"], TOKEN)
    assert (status, len(answer["workers"])) == (200, WORKERS)
    await_that(lambda: {entry["version"] for entry in tiers(running)["device"]["entries"]} == {"2.2.0"}, 10)
    status, answer = running.order("preload", ["claims_filter:2.1.0", "claim_filter"], TOKEN)
    assert status == 409
    assert sum("claims_filter:2.1.0: loaded" in line for line in answer["workers"]) == WORKERS
    assert sum("the nearest" in line for line in answer["workers"]) == WORKERS
