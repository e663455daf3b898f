"""Leases that nobody waits for, while models come and go."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from bench.models_fixture import Unhurried, make_release
from models.errors import LoadTimeoutError, NoRoomError
from models.eviction import Rules
from models.priority import ModelPriority
from models.release import Release, VersionKey
from models.tiers.budget import Budget
from models.tiers.device import DeviceTier
from models.tiers.protocol import TierName, Worth
from tests.redis_fixture import Impatient

SIZE = 1_000


def device(limit: int = 10 * SIZE) -> DeviceTier:
    budget = Budget("its budget", Rules(limit), lambda _: Worth(cost=1.0), time.monotonic)
    return DeviceTier(lambda release, _: SimpleNamespace(bytes=release.bytes), budget, 600.0, time.monotonic)  # type: ignore[arg-type, return-value]


def version(number: int = 1) -> Release:
    return make_release("model", f"{number}.0.0", {"weights.bin": SIZE})[0]


def place(tier: DeviceTier, release: Release, freed: list[Any]) -> Any:
    model = SimpleNamespace(bytes=SIZE, freed=False)

    def free() -> None:
        model.freed = True
        freed.append(model)

    with tier.reserve(release, Unhurried()) as room:
        return room.fill(model, free, TierName.REPOSITORY, 0.1)  # type: ignore[arg-type]


def test_a_model_is_freed_once_when_its_last_lease_ends() -> None:
    tier, release, freed = device(), version(), []
    first = place(tier, release, freed)
    second, third = tier.lease(release.key), first.share()
    assert second is not None
    tier.purge(release.key)
    assert tier.lease(release.key) is None
    for lease in (first, first, second):
        lease.release()
        assert freed == []
    assert tier.used() == SIZE
    third.release()
    assert (len(freed), tier.used()) == (1, 0)


class User:
    """Takes leases and looks whether their model is freed."""

    def __init__(self, tier: DeviceTier, release: Release) -> None:
        self._tier = tier
        self._key = release.key
        self.seen = self.wrong = 0

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            if (lease := self._tier.lease(self._key)) is not None:
                time.sleep(0)
                self.seen += 1
                self.wrong += lease.model.freed  # type: ignore[attr-defined]
                lease.release()


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads change places as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("way", ["evict", "purge"])
def test_nobody_ever_holds_a_model_that_was_freed(way: str) -> None:
    tier, release, freed = device(), version(), []
    place(tier, release, freed).release()
    stop, users = threading.Event(), [User(tier, release) for _ in range(4)]
    threads = [threading.Thread(target=user.run, args=(stop,)) for user in users]
    for thread in threads:
        thread.start()
    placed, deadline = 1, time.monotonic() + 1.0
    # A busy machine may let the users wait.
    while time.monotonic() < deadline or sum(user.seen for user in users) <= 100:
        getattr(tier, way)(release.key)
        if not tier.holds(release.key):
            place(tier, release, freed).release()
            placed += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert [user.wrong for user in users] == [0] * 4
    tier.purge(release.key)
    assert len(freed) == placed
    assert len({id(model) for model in freed}) == placed
    assert tier.used() == 0


def test_an_eviction_spares_what_somebody_holds() -> None:
    tier, freed = device(limit=2 * SIZE), []
    held = [place(tier, version(number), freed) for number in (1, 2)]
    other = place(tier, version(3), freed)
    assert (other.cached, tier.used()) == (False, 3 * SIZE)
    other.release()
    assert len(freed) == 1
    for lease in held:
        lease.release()
    assert (len(freed), tier.used()) == (1, 2 * SIZE)


def test_what_is_reserved_for_high_priority_has_no_room_for_others() -> None:
    high = {version(number).key.version for number in (8, 9)}

    def worth(key: VersionKey) -> Worth:
        return Worth(cost=1.0, priority=ModelPriority.HIGH if key.version in high else ModelPriority.MEDIUM)

    budget = Budget("its budget", Rules(4 * SIZE, SIZE), worth, time.monotonic)
    tier = DeviceTier(lambda release, _: SimpleNamespace(bytes=release.bytes), budget, 600.0, time.monotonic)  # type: ignore[arg-type, return-value]
    for number in (1, 2):
        place(tier, version(number), []).release()
    assert tier.fits(version(3))
    place(tier, version(3), []).release()
    assert (tier.fits(version(4)), tier.fits(version(8))) == (False, True)
    place(tier, version(8), []).release()
    assert not tier.fits(version(9))


def test_two_loads_of_a_version_reserve_twice() -> None:
    tier, release = device(), version()
    with tier.reserve(release, Unhurried()):
        with tier.reserve(release, Unhurried()):
            assert tier.used() == 2 * SIZE
        assert tier.used() == SIZE
    assert tier.used() == 0


class Hurried(Unhurried):
    """A guard of a load that has next to no time."""

    def remaining(self) -> float:
        return 0.001


def test_what_is_not_cached_has_a_bound_and_all_of_it_comes_back() -> None:
    tier, freed = device(limit=2 * SIZE), []
    cached = [place(tier, version(number), freed) for number in (1, 2)]
    beside = [place(tier, version(number), freed) for number in (3, 4)]
    assert [lease.cached for lease in (*cached, *beside)] == [True, True, False, False]
    told = (
        r"model:5\.0\.0: not loaded in time: its 1000 bytes .* beside its budget, and 2000 of the 2000 bytes"
    )
    for _ in range(2):
        with pytest.raises(NoRoomError, match=told):
            tier.reserve(version(5), Hurried())
    beside.pop().release()
    with pytest.raises(ZeroDivisionError), tier.reserve(version(5), Hurried()):
        raise ZeroDivisionError
    with tier.reserve(version(5), Hurried()) as room:
        assert not room.cached
    for lease in (*cached, *beside):
        lease.release()
    assert (tier._beside, tier.used()) == ({}, 2 * SIZE)


def test_what_waits_for_room_gets_it_or_ends_with_its_guard() -> None:
    tier, freed = device(limit=SIZE), []
    place(tier, version(1), freed)
    held = [place(tier, version(number), freed) for number in (1, 2)]
    waiting = threading.Thread(target=lambda: place(tier, version(3), freed).release())
    waiting.start()
    with pytest.raises(LoadTimeoutError):
        tier.reserve(version(4), Impatient(3))
    assert waiting.is_alive()
    for lease in held:
        lease.release()
    waiting.join(10.0)
    assert not waiting.is_alive()
    assert tier._beside == {}


def test_one_that_is_larger_than_the_bound_goes_alone() -> None:
    budget = Budget("its budget", Rules(2 * SIZE), lambda _: Worth(cost=1.0), time.monotonic)
    tier, freed = DeviceTier(lambda *_: None, budget, 600.0, time.monotonic, beside=SIZE // 2), []  # type: ignore[arg-type, return-value]
    held = [place(tier, version(number), freed) for number in (1, 2)]
    place(tier, version(3), freed).release()
    other = place(tier, version(3), freed)
    with pytest.raises(NoRoomError, match="1000 of the 500 bytes that may do so are taken"):
        tier.reserve(version(4), Hurried())
    for lease in (*held, other):
        lease.release()
    assert tier._beside == {}


def test_what_was_forgotten_comes_back_without_a_lock() -> None:
    tier, release, freed = device(), version(), []
    lease = place(tier, release, freed)
    with tier._lock:
        del lease
    assert freed == []
    assert tier.evict(release.key)
    assert len(freed) == 1


def test_a_model_that_goes_between_look_and_lease_is_not_given() -> None:
    tier, release, freed = device(), version(), []
    place(tier, release, freed).release()

    class Late(dict[Any, Any]):
        """Lets the model go after it was seen and before it is leased."""

        def get(self, key: Any, default: Any = None) -> Any:
            seen = super().get(key, default)
            tier._slots = dict(self)
            assert tier.evict(key)
            return seen

    tier._slots = Late(tier._slots)
    assert tier.lease(release.key) is None
    assert (len(freed), tier.used()) == (1, 0)


def test_a_version_that_another_load_put_there_first_is_stored() -> None:
    tier, release, content = device(), *make_release("model", "1.0.0", {"weights.bin": SIZE})
    slow = tier.build

    def outrun(release: Release, content: Any) -> Any:
        tier.build = slow
        tier.store(release, content, Unhurried())
        tier.evict(release.key)
        tier.store(release, content, Unhurried())
        return slow(release, content)

    tier.build = outrun
    tier.store(release, content, Unhurried())
    assert [entry.key for entry in tier.entries()] == [release.key]
    assert tier.used() == SIZE
