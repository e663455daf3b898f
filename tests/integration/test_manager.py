"""The public API on real tiers and a real model."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models import CacheOptions, MLModelCacheManager, ModelPriority, SyncModelCacheManager, open_model
from models.appraisal import Appraisals
from models.demand import Demand
from models.errors import FeatureError, LoadTimeoutError, ModelError, TooLargeError, UnknownModelError
from models.protocols import Model
from models.release import Content, Release, VersionKey
from models.supply import NULL_KEY
from stream.clock import ManualClock
from stream.lanes import Lanes
from stream.loader import Loader, Schedule
from stream.metrics import StageMetrics
from stream.publishing import generate
from stream.roster import Roster
from tests.repositories import empty, pushed

Make = Callable[..., SyncModelCacheManager]


@pytest.fixture
def options(tmp_path: Path) -> CacheOptions:
    return CacheOptions(memory_folder=tmp_path / "pool", redis_url=None, device="cpu", threads=1)


@pytest.fixture
def manager(options: CacheOptions) -> Iterator[SyncModelCacheManager]:
    with SyncModelCacheManager(l1_memory_limit_gb=0.1, options=options) as made:
        yield made


@pytest.fixture(scope="module")
def claim_batch() -> pa.RecordBatch:
    return next(iter(generate(100, 5)))


def test_the_documented_lines_run(options: CacheOptions, claim_batch: pa.RecordBatch) -> None:
    async def documented() -> None:
        cache_manager = MLModelCacheManager(
            l1_memory_limit_gb=0.1, l2_redis_limit_gb=8.0, gpu_memory_limit_gb=4.0, options=options
        )
        model = await cache_manager.get_model(
            model_name="claims_filter_v2.1", version="latest", priority_level=ModelPriority.HIGH
        )
        results = await cache_manager.batch_inference(
            model_name="claims_filter_v2.1", inputs=claim_batch, batch_size="auto"
        )
        assert model.model.identity.version == results.model.version == "2.1.0"
        assert len(results) == 100
        assert set(results.decisions) == {"pass", "review"}
        assert results[7].score == pytest.approx(results.scores[7])
        model.release()
        await cache_manager.close()

    asyncio.run(documented())


def test_scores_are_those_of_the_model_itself(
    manager: SyncModelCacheManager, claim_batch: pa.RecordBatch
) -> None:
    model = open_model("claims_filter_v2.1", threads=1)
    expected = model.score(model.features.encode(claim_batch))
    for inputs in (claim_batch, pa.Table.from_batches([claim_batch]), claim_batch.to_pylist()):
        for size in ("auto", 7):
            results = manager.batch_inference("claims_filter_v2.1", inputs, size)  # type: ignore[arg-type]
            np.testing.assert_allclose(results.scores, expected, atol=1e-5)


def test_no_claims_give_no_results(manager: SyncModelCacheManager, claim_batch: pa.RecordBatch) -> None:
    assert list(manager.batch_inference("claims_filter_v2.1", claim_batch.slice(0, 0))) == []
    assert list(manager.batch_inference("null", [])) == []


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ([{"claim_type": "inpatient"}], "claim 0 of 1 has no service_date, received_date, codes"),
        (
            [
                dict.fromkeys(
                    ("claim_type", "service_date", "received_date", "codes", "lines", "attributes"), 7
                )
            ],
            "the claims are not of the types",
        ),
    ],
)
def test_claims_that_lack_something_say_what(
    manager: SyncModelCacheManager, claims: list[dict[str, object]], reason: str
) -> None:
    with pytest.raises(FeatureError, match=reason):
        manager.batch_inference("claims_filter_v2.1", claims)


def test_a_size_that_is_none_is_refused(manager: SyncModelCacheManager) -> None:
    with pytest.raises(ModelError, match='give 1 or more, or "auto"'):
        manager.batch_inference("claims_filter_v2.1", [], 0)


def test_an_unknown_name_is_answered_with_the_nearest(manager: SyncModelCacheManager) -> None:
    for _ in range(2):
        with pytest.raises(UnknownModelError, match="claims_filter"):
            manager.get_model("claim_filter_v2.1")


def test_a_model_larger_than_the_budget_names_both(options: CacheOptions) -> None:
    with (
        SyncModelCacheManager(gpu_memory_limit_gb=0.0005, options=options) as manager,
        pytest.raises(TooLargeError, match=r"gpu_memory_gb\) of 500000 bytes"),
    ):
        manager.get_model("claims_filter_v2.1")


def test_hundred_coroutines_and_threads_are_one_load(options: CacheOptions) -> None:
    async def many() -> None:
        async with MLModelCacheManager(l1_memory_limit_gb=0.1, options=options) as manager:
            threads = [
                threading.Thread(target=lambda: manager.sync.get_model("claims_filter_v2.1").release())
                for _ in range(50)
            ]
            for thread in threads:
                thread.start()
            leases = await asyncio.gather(*(manager.get_model("claims_filter_v2.1") for _ in range(50)))
            for thread in threads:
                await asyncio.to_thread(thread.join)
            assert len({id(lease.model) for lease in leases}) == 1
            for lease in leases:
                lease.release()
            status = await manager.status()
            (repository,) = [tier for tier in status.tiers if tier.tier == "repository"]
            assert repository.bytes_loaded == repository.entries[0].bytes
            assert all(entry.leases == 0 for tier in status.tiers[:1] for entry in tier.entries[1:])

    asyncio.run(many())


def test_a_cancelled_call_leaves_nothing(options: CacheOptions) -> None:
    async def cancelled() -> None:
        async with MLModelCacheManager(l1_memory_limit_gb=0.1, options=options) as manager:
            call = asyncio.ensure_future(manager.get_model("claims_filter_v2.1"))
            await asyncio.sleep(0.005)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            lease = await manager.get_model("claims_filter_v2.1")
            lease.release()
            status = await manager.status()
            assert [entry.leases for entry in status.tiers[0].entries if entry.model != "null"] == [0]

    asyncio.run(cancelled())


def test_time_that_is_up_is_said(options: CacheOptions) -> None:
    async def hasty() -> None:
        async with MLModelCacheManager(l1_memory_limit_gb=0.1, options=options) as manager:
            with pytest.raises(LoadTimeoutError, match="not loaded within"):
                await manager.get_model("claims_filter_v2.1", timeout=0.0001)

    asyncio.run(hasty())


def test_time_that_is_up_is_up_where_others_wait_longer(options: CacheOptions) -> None:
    may_end = threading.Event()

    async def hasty(manager: MLModelCacheManager) -> None:
        with pytest.raises(LoadTimeoutError, match=r"not loaded within 0\.1 s; it goes on if others wait"):
            await asyncio.wait_for(manager.get_model("claims_filter_v2.1"), 10.0)

    async def run() -> None:
        async with MLModelCacheManager(0.1, options=replace(options, load_timeout_s=0.1)) as manager:
            device = manager.sync._parts.cache.tiers.device
            build = device.build

            def slow(release: Release, content: Content) -> Model:
                may_end.wait(30.0)
                return build(release, content)

            device.build = slow
            release = manager.sync.release_of("claims_filter_v2.1", "latest", None)
            patient = manager.sync.join(release, 60.0)
            await hasty(manager)
            may_end.set()
            lease = await asyncio.to_thread(manager.sync.take, patient)
            lease.release()

    asyncio.run(run())


def test_preload_pins_and_evict_lets_go(manager: SyncModelCacheManager) -> None:
    (key,) = manager.preload(["claims_filter_v2.1"], pin=True)
    assert str(key) == "claims_filter:2.1.0"
    assert [entry.pinned for entry in manager.status().tiers[0].entries if entry.model == key.name] == [True]
    assert manager.evict("claims_filter_v2.1") == ["device", "memory"]
    assert manager.evict("claims_filter_v2.1") == []
    assert [tier.used for tier in manager.status().tiers[:2]] == [0, 0]


def test_status_tells_rates_and_times(manager: SyncModelCacheManager) -> None:
    assert manager.status().hit_rate is None
    for _ in range(4):
        manager.get_model("claims_filter_v2.1").release()
    status = manager.status()
    assert (status.hit_rate_l1, status.hit_rate_l2) == (0.75, 0.0)
    repository = status.tiers[-1]
    assert repository.load_p50_s is not None
    assert 0.0 < repository.load_p50_s < 30.0


def test_a_closed_manager_keeps_nothing(options: CacheOptions) -> None:
    manager = SyncModelCacheManager(l1_memory_limit_gb=0.1, options=options)
    lease = manager.get_model("claims_filter_v2.1")
    manager.close()
    manager.close()
    assert options.memory_folder is not None
    assert not options.memory_folder.exists()
    # Its pages live on with the lease, as long as somebody looks at them.
    lease.model.warm_up([3])
    lease.release()


def test_maintenance_brings_back_what_has_room_again(manager: SyncModelCacheManager) -> None:
    (key,) = manager.preload(["claims_filter_v2.1"])
    device = manager._parts.cache.tiers.device
    assert device.evict(key)
    manager.maintain()
    assert device.holds(key)
    manager.evict("claims_filter_v2.1")
    manager.maintain()
    assert not device.holds(key)


def test_maintenance_loads_nothing_that_the_reserve_has_no_room_for(
    options: CacheOptions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release = pushed(empty(tmp_path), "2.1.0", "2.2.0").release("claims_filter", "2.1.0")
    budget = 3 * release.manifest.bytes.device
    narrow = replace(options, repository=tmp_path / "repository", device_bytes=budget, reserved_share=0.5)
    with SyncModelCacheManager(0.1, options=narrow) as manager:
        first = manager.get_model("claims_filter:2.1.0")
        manager.get_model("claims_filter:2.2.0").release()
        assert [str(key) for key in manager._parts.cache.misplaced()] == ["claims_filter:2.2.0"]
        ((key, _),) = manager.supply.shares("claims_filter:2.2.0")
        assert not manager.supply.room(key)
        with caplog.at_level("INFO", "models.cache"):
            manager.maintain()
        assert caplog.messages == []
        first.release()


def test_maintenance_goes_on_after_a_version_that_is_gone(
    options: CacheOptions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repository = pushed(empty(tmp_path), "2.1.0", "2.2.0", "2.3.0")
    with SyncModelCacheManager(0.1, options=replace(options, repository=tmp_path / "repository")) as manager:
        device = manager._parts.cache.tiers.device
        keys = manager.preload([f"claims_filter:2.{minor}.0" for minor in (1, 2, 3)])
        for key in keys:
            assert device.evict(key)
        gone = manager._parts.cache.misplaced()[0]
        shutil.rmtree(repository.folder(gone))
        manager.maintain()
        assert [key for key in keys if not device.holds(key)] == [gone]
    assert f"{gone}: not brought back to the device" in caplog.text


def test_maintenance_says_once_that_a_model_cannot_come_back_and_waits_until_it_is_asked_for(
    manager: SyncModelCacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    (key,) = manager.preload(["claims_filter_v2.1"])
    device = manager._parts.cache.tiers.device
    build, tried = device.build, []

    def broken(release: Release, _: Content) -> Model:
        tried.append(release.key)
        raise RuntimeError("no such operator")

    device.build = broken
    assert device.evict(key)
    manager.maintain()
    manager.maintain()
    assert tried == [key]
    assert caplog.text.count(f"{key}: not brought back to the device until it is asked for") == 1
    assert "no such operator" in caplog.text
    device.build = build
    manager.get_model("claims_filter_v2.1").release()
    assert device.evict(key)
    manager.maintain()
    assert device.holds(key)


@pytest.mark.parametrize("asked", [None, ModelPriority.CRITICAL])
def test_the_priority_is_that_of_the_catalog_unless_another_is_asked_for(
    options: CacheOptions, asked: ModelPriority | None
) -> None:
    priorities = {"claims_filter_v2.1": ModelPriority.HIGH}
    with SyncModelCacheManager(0.1, options=replace(options, priorities=priorities)) as manager:
        for _ in range(2):
            lease = manager.get_model("claims_filter_v2.1", priority_level=asked)
        assert manager._parts.appraisals.appraise(lease.key).priority is (asked or ModelPriority.HIGH)
        ((key, _),) = manager.supply.shares("claims_filter_v2.1")
        assert manager._parts.appraisals.appraise(key).priority is ModelPriority.HIGH


def test_of_two_names_of_a_version_the_highest_priority_counts(options: CacheOptions) -> None:
    names = ("claims_filter_v2.1", "claims_filter:2.1.0")
    priorities = dict(zip(names, (ModelPriority.HIGH, ModelPriority.LOW), strict=True))
    with SyncModelCacheManager(0.1, options=replace(options, priorities=priorities)) as manager:
        for name in (*names, *names):
            ((key, _),) = manager.supply.shares(name)
        assert manager._parts.appraisals.appraise(key).priority is ModelPriority.HIGH


def test_a_name_that_means_another_version_gives_its_priority_to_that_alone() -> None:
    appraisals = Appraisals(Demand(), time.monotonic)
    old, new = (VersionKey("fraud", version, "digest") for version in ("1.0.0", "2.0.0"))
    appraisals.prioritize([old], "fraud:shadow", ModelPriority.LOW)
    for keys in ([old], [old, new], [new]):
        appraisals.prioritize(keys, "fraud:production", ModelPriority.CRITICAL)
        assert appraisals.appraise(keys[-1]).priority is ModelPriority.CRITICAL
    assert appraisals.appraise(old).priority is ModelPriority.LOW


def test_a_coroutine_sets_the_priority_of_a_model_that_is_there(options: CacheOptions) -> None:
    async def prioritized() -> None:
        async with MLModelCacheManager(0.1, options=options) as manager:
            for priority in (None, ModelPriority.HIGH):
                with await manager.get_model("claims_filter_v2.1", priority_level=priority) as model:
                    assert model.identity.version == "2.1.0"
            (key,) = [e.key for e in manager.sync._parts.cache.tiers.device.entries()]
            assert manager.sync._parts.appraisals.appraise(key).priority is ModelPriority.HIGH
            assert (await manager.get_model("null")).key == NULL_KEY

    asyncio.run(prioritized())


@pytest.mark.parametrize(("route", "preloaded"), [("null", ()), ("claims_filter_v2.1", ("null",))])
def test_a_peak_finds_the_built_in_model_ready(
    manager: SyncModelCacheManager, route: str, preloaded: tuple[str, ...]
) -> None:
    clock = ManualClock()
    schedule = Schedule(("* * * * *",), preloaded)
    loader = Loader(manager.supply, Roster([route]), Lanes(), clock, StageMetrics(), schedule)
    loader.open()
    for _ in range(3):
        loader.step(clock.now())
        clock.advance(2.0)
    assert NULL_KEY in loader._held
    loader.close()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_what_is_evicted_is_gone(manager: SyncModelCacheManager) -> None:
    for _ in range(5):
        manager.get_model("claims_filter_v2.1").release()
        assert manager.evict("claims_filter_v2.1") == ["device", "memory"]
    assert "model.safetensors" not in Path("/proc/self/maps").read_text()
