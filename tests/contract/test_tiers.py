"""What every tier of the cache must do, whatever it is made of."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.models_fixture import Unhurried, make_release
from models.errors import AbsentError, LoadTimeoutError, NoRoomError, TooLargeError
from models.eviction import Rules
from models.priority import ModelPriority
from models.release import Content, Release
from models.repository import Repository
from models.tiers.budget import Budget
from models.tiers.device import DeviceTier
from models.tiers.memory import Lifetime, MemoryTier
from models.tiers.pool import Pool
from models.tiers.protocol import Worth
from models.tiers.redis import RedisTier
from models.tiers.repository import RepositoryTier
from models.tiers.sink import Sink
from tests.redis_fixture import Impatient, Worths

SIZE = 300_000
BUDGET = 4 * SIZE
BOUNDED = ["device", "memory", "redis"]
BYTES = ["memory", "redis", "repository"]


@dataclass(frozen=True)
class BuiltModel:
    """What a device holds of a version, as far as its bytes go."""

    bytes: int


@dataclass
class Place:
    """A tier, and what its policy is told."""

    tier: Any
    worths: Worths

    def store(self, release: Release, content: Content, guard: Any = None) -> None:
        self.tier.store(release, content, guard or Unhurried())

    def read(self, release: Release) -> Mapping[str, bytes]:
        into = {name: bytearray(file.bytes) for name, file in release.manifest.files.items()}

        def write(file: str, offset: int, chunk: memoryview) -> None:
            into[file][offset : offset + len(chunk)] = chunk

        with contextlib.closing(Sink(release, write)) as sink:
            self.tier.read(release, sink, Unhurried())
            sink.finish()
        return {name: bytes(data) for name, data in into.items()}

    @property
    def held(self) -> set[str]:
        return {entry.key.version for entry in self.tier.entries()}


def version(number: int, size: int = SIZE) -> tuple[Release, Content]:
    return make_release("model", f"{number}.0.0", {"weights.bin": size - 1_000, "vocabulary.json": 1_000})


@pytest.fixture(params=["device", "memory", "redis", "repository"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    worths = Worths()
    if (only := request.node.get_closest_marker("only")) and request.param not in only.args[0]:
        pytest.skip("not a matter of this tier")
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    tier = make(request.param, tmp_path, worths, url)
    yield Place(tier, worths)
    tier.close()


def make(kind: str, folder: Path, worths: Worths, url: str) -> Any:
    budget = Budget("its budget", Rules(BUDGET), worths, time.monotonic)
    if kind == "device":
        return DeviceTier(lambda release, _: BuiltModel(release.bytes), budget, 600.0, time.monotonic)  # type: ignore[arg-type, return-value]
    if kind == "memory":
        return MemoryTier(Pool(folder / "pool", BUDGET), budget, Lifetime(1_800.0, 600.0), time.time)
    if kind == "redis":
        # Redis counts what its chunks take there, which is more than they hold.
        roomy = Budget("its budget", Rules(int(1.2 * BUDGET)), worths, time.monotonic)
        return RedisTier(url, roomy, Lifetime(14_400.0, 3_600.0), time.monotonic)
    # Another model is there all the time: a repository that becomes empty counts as a mount that went away.
    (folder / "repository" / "others").mkdir(parents=True)
    return RepositoryTier(Repository(folder / "repository", folder / "nothing"))


def test_what_is_stored_is_there(place: Place) -> None:
    (release, content), (other, _) = version(1), version(2)
    assert not place.tier.holds(release.key)
    place.store(release, content)
    assert place.tier.holds(release.key)
    assert not place.tier.holds(other.key)
    (entry,) = place.tier.entries()
    assert entry.key == release.key
    assert release.bytes <= entry.bytes == place.tier.used()
    assert 0.0 <= entry.idle <= entry.age + 1.0


def test_storing_again_changes_nothing(place: Place) -> None:
    release, content = version(1)
    place.store(release, content)
    used = place.tier.used()
    place.store(release, content)
    assert (place.tier.used(), place.held) == (used, {"1.0.0"})


@pytest.mark.only(BYTES)
def test_the_bytes_come_back(place: Place) -> None:
    release, content = version(1)
    place.store(release, content)
    assert place.read(release) == {name: bytes(data) for name, data in content.items()}


@pytest.mark.only(BYTES)
def test_what_is_not_there_is_absent(place: Place) -> None:
    (release, content), (other, _) = version(1), version(2)
    place.store(release, content)
    with pytest.raises(AbsentError, match=r"model:2\.0\.0 is not in"):
        place.read(other)


@pytest.mark.only(BYTES)
def test_another_content_under_the_same_number_is_absent(place: Place) -> None:
    (release, content), (other, _) = version(1), version(1)
    place.store(release, content)
    with pytest.raises(AbsentError):
        place.read(other)


def test_a_store_that_is_given_up_leaves_nothing(place: Place) -> None:
    release, content = version(1)
    with pytest.raises(LoadTimeoutError):
        place.store(release, content, Impatient(0))
    assert (place.tier.used(), place.held, place.tier.holds(release.key)) == (0, set(), False)
    place.store(release, content)
    assert place.held == {"1.0.0"}


@pytest.mark.only(BOUNDED)
def test_what_is_worth_least_goes(place: Place) -> None:
    for number in range(1, 5):
        release, content = version(number)
        place.worths.of[release.key] = Worth(demand=0.1 * number, cost=1.0)
        place.store(release, content)
    release, content = version(5)
    place.worths.of[release.key] = Worth(demand_before=0.9, cost=1.0)
    place.store(release, content)
    assert "5.0.0" in place.held
    assert "1.0.0" not in place.held
    assert {"3.0.0", "4.0.0"} <= place.held
    assert place.tier.used() <= place.tier.budget


@pytest.mark.only(BOUNDED)
def test_what_is_worth_less_than_all_does_not_come_in(place: Place) -> None:
    for number in range(1, 7):
        release, content = version(number)
        place.worths.of[release.key] = Worth(demand=0.5, demand_before=0.5 / number, cost=1.0)
        with contextlib.suppress(NoRoomError):
            place.store(release, content)
    before = place.held
    release, content = version(9)
    place.worths.of[release.key] = Worth(demand_before=0.01, cost=1.0)
    with pytest.raises(NoRoomError, match=r"model:9\.0\.0"):
        place.store(release, content)
    assert (place.held, place.tier.holds(release.key)) == (before, False)


@pytest.mark.only(BOUNDED)
def test_a_model_larger_than_the_budget_is_told_so(place: Place) -> None:
    release, content = version(1, size=3 * BUDGET)
    with pytest.raises(TooLargeError, match=rf"{release.bytes}|{place.tier.budget}"):
        place.store(release, content)
    assert (place.tier.used(), place.held) == (0, set())


@pytest.mark.only(BOUNDED)
def test_a_pinned_version_stays(place: Place) -> None:
    release, content = version(1)
    place.worths.of[release.key] = Worth(pinned=True)
    place.store(release, content)
    for number in range(2, 8):
        other, data = version(number)
        place.worths.of[other.key] = Worth(
            demand=0.9, demand_before=0.9, cost=9.0, priority=ModelPriority.CRITICAL
        )
        with contextlib.suppress(NoRoomError):
            place.store(other, data)
        assert "1.0.0" in place.held
    assert not place.tier.evict(release.key)


@pytest.mark.only(BOUNDED)
@pytest.mark.parametrize("way", ["evict", "purge"])
def test_what_goes_leaves_its_bytes(place: Place, way: str) -> None:
    release, content = version(1)
    place.store(release, content)
    getattr(place.tier, way)(release.key)
    assert (place.tier.used(), place.held, place.tier.holds(release.key)) == (0, set(), False)
    assert not place.tier.evict(release.key)
    place.tier.purge(release.key)


def test_a_use_ends_its_idle_time(place: Place) -> None:
    release, content = version(1)
    place.store(release, content)
    time.sleep(0.05)
    before = place.tier.entries()[0].idle
    place.tier.touch(release.key)
    assert place.tier.entries()[0].idle < before


def test_nothing_expires_that_is_fresh(place: Place) -> None:
    release, content = version(1)
    place.store(release, content)
    assert place.tier.expire() == []
    assert place.tier.holds(release.key)


def test_many_threads_leave_the_accounts_right(place: Place) -> None:
    versions = [version(number, size=60_000) for number in range(1, 7)]

    def work(offset: int) -> None:
        for turn in range(12):
            release, content = versions[(turn + offset) % len(versions)]
            place.store(release, content)
            place.tier.touch(release.key)
            if turn % 3 == offset % 3:
                place.tier.evict(release.key)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(4))) == [None] * 4
    assert place.tier.used() == sum(entry.bytes for entry in place.tier.entries())
    assert place.tier.budget is None or place.tier.used() <= place.tier.budget
    for entry in place.tier.entries():
        place.tier.evict(entry.key)
    assert place.tier.budget is None or place.tier.used() == 0
