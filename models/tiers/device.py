"""The device: models ready to score, in its memory; on a CPU, views of the pages that the memory tier holds."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from models.errors import NoRoomError, TooLargeError
from models.protocols import Model
from models.release import Content, Release, VersionKey
from models.tiers.budget import Budget, Occupant, expected_seconds
from models.tiers.lease import Free, Lease, Slot, end_lease
from models.tiers.protocol import Entry, Guard, TierName

Build = Callable[[Release, Content], Model]

_LOOK_SECONDS = 0.05
_NO_CONTENT: Content = {}


class DeviceTier:
    """Models of one process on one device, within a budget of measured bytes; `build` makes one of verified files.

    Beside the budget may lie what is served without being cached, and on a CPU what did not fit the memory that all
    processes share: `beside` bytes, as many as the budget unless told otherwise, or one that is larger. What is leased
    without being cached counts as used as well, so that nothing is cached in the memory that it takes.
    """

    name = TierName.DEVICE

    def __init__(
        self, build: Build, budget: Budget, idle: float, now: Callable[[], float], beside: int | None = None
    ) -> None:
        self.build = build
        self._budget = budget
        self._idle = idle
        self._now = now
        self._slots: dict[VersionKey, Slot] = {}
        self._built_in: dict[VersionKey, Slot] = {}
        # Out of the tier but leased still: their bytes count until the last lease ends.
        self._leaving: set[Slot] = set()
        self._reserved: dict[Reservation, int] = {}
        self._beside_limit = budget.limit if beside is None else beside
        self._beside: dict[Reservation | Slot, Release] = {}
        self._lock = threading.Lock()
        self._given_back = threading.Condition(self._lock)
        self._uses = itertools.count(1)
        self.forgotten: deque[tuple[Slot, int]] = deque()
        self.served = 0

    @property
    def budget(self) -> int | None:
        return self._budget.limit

    def used(self) -> int:
        with self._lock:
            return self._used()

    def entries(self) -> list[Entry]:
        now = self._now()
        with self._lock:
            return [
                Entry(
                    slot.key,
                    slot.bytes,
                    now - slot.stored_at,
                    now - slot.used_at,
                    slot.hits,
                    len(slot.holders),
                    slot.load_seconds,
                    self._budget.appraise(slot.key).pinned,
                )
                for slot in self._slots.values()
            ]

    def holds(self, key: VersionKey) -> bool:
        return key in self._slots or key in self._built_in

    def lease(self, key: VersionKey) -> Lease | None:
        """The model, if it is here: never waits for one that is not."""
        if self.forgotten:
            self._collect()
        slot = self._slots.get(key) or self._built_in.get(key)
        if slot is None:
            return None
        lease = Lease(self, slot)
        if slot.going:
            lease.release()
            return None
        slot.use(self._now())
        self.served = next(self._uses)
        return lease

    def fits(self, release: Release) -> bool:
        """Whether a load of it would let nothing go, by its priority and by what the manifest says."""
        with self._lock:
            return self._budget.fits(
                self._occupants(), self._used(), release.key, release.manifest.bytes.device
            )

    def ended(self, slot: Slot) -> None:
        """The last lease of a model that left the tier has ended; of two that both were the last, one frees it."""
        with self._lock:
            leaving = slot in self._leaving
            self._leaving.discard(slot)
        if leaving:
            self._free([slot])

    def _collect(self) -> None:
        """Take back what was leased and forgotten."""
        with suppress(IndexError):
            while True:
                end_lease(self, *self.forgotten.popleft())

    def adopt(self, key: VersionKey, model: Model) -> Lease:
        """Keep a model that is not loaded but built in: it takes no room and never goes."""
        now = self._now()
        with self._lock:
            return Lease(self, self._built_in.setdefault(key, Slot(key, model, 0, _nothing, now)))

    def reserve(self, release: Release, guard: Guard) -> Reservation:
        """Make room for a load before it begins, by what the manifest says; `fill` goes by what is measured.

        What cannot be cached waits until there is room for it beside the budget. Raises TooLargeError when it can never
        fit, NoRoomError when no time is left for the load, and what `guard` raises.
        """
        while (room := self._reserved_now(release)) is None:
            self._wait(release, guard)
        return room

    def own(self, room: Reservation, guard: Guard) -> None:
        """Room beside the budget for bytes that come into memory of this process's own. Raises as `reserve` does."""
        while not self._own_now(room):
            self._wait(room.release, guard)

    def own_copies(self) -> list[tuple[Release, Content]]:
        """What is cached in memory of this process's own."""
        with self._lock:
            return [
                (self._beside[slot], slot.content) for slot in self._slots.values() if slot in self._beside
            ]

    def _wait(self, release: Release, guard: Guard) -> None:
        """A moment, for others to let go of what lies beside the budget."""
        guard.check()
        patience = guard.remaining() - expected_seconds(_size(release))
        if patience <= 0:
            raise NoRoomError(self._too_many(release))
        with self._given_back:
            self._given_back.wait(min(patience, _LOOK_SECONDS))

    def _reserved_now(self, release: Release) -> Reservation | None:
        self._collect()
        with self._lock:
            cached, victims = self._admit(release, release.manifest.bytes.device)
            # Not by version: a load that was given up may not be over when the next one of it begins.
            room = Reservation(self, release, cached=cached)
            if cached:
                self._reserved[room] = release.manifest.bytes.device
                taken = True
            else:
                taken = self._take_beside(room, victims)
        self._free(victims)
        return room if taken else None

    def _own_now(self, room: Reservation) -> bool:
        self._collect()
        victims: list[Slot] = []
        with self._lock:
            taken = room in self._beside or self._take_beside(room, victims)
        self._free(victims)
        return taken

    def _take_beside(self, room: Reservation, victims: list[Slot]) -> bool:
        """Whether there is room beside the budget; copies of its own that go for it join the `victims`."""
        size = _size(room.release)
        if not self._could_take_beside(size):
            return False
        while self._beside and self._beside_bytes + size > self._beside_limit:
            if (slot := self._least_own_copy()) is None:
                return False
            victims.append(slot)
        self._beside[room] = room.release
        return True

    def _could_take_beside(self, size: int) -> bool:
        """Whether letting copies of its own go would be enough; otherwise none goes."""
        movable = [slot for slot in self._own_copies() if not slot.holders]
        staying = self._beside_bytes - sum(_size(self._beside[slot]) for slot in movable)
        return len(movable) == len(self._beside) or staying + size <= self._beside_limit

    def _own_copies(self) -> list[Slot]:
        """Those cached, and not pinned."""
        own = [slot for slot in self._slots.values() if slot in self._beside]
        return [slot for slot in own if not self._budget.appraise(slot.key).pinned]

    def _least_own_copy(self) -> Slot | None:
        """The cached copy of its own that is worth least, out of the tier; None where all are leased or pinned."""
        worth = {slot: self._budget.appraise(slot.key) for slot in self._own_copies()}
        for slot in sorted(worth, key=lambda slot: (worth[slot].priority, worth[slot].demand)):
            if slot.vacate():
                del self._slots[slot.key], self._beside[slot]
                return slot
        return None

    @property
    def _beside_bytes(self) -> int:
        return sum(map(_size, self._beside.values()))

    def _too_many(self, release: Release) -> str:
        with self._lock:
            taken = self._beside_bytes
        return (
            f"{release.key}: not loaded in time: its {_size(release)} bytes would lie beside {self._budget.setting}, "
            f"and {taken} of the {self._beside_limit} bytes that may do so are taken; "
            "let leases go, ask for fewer models at once or raise that budget"
        )

    def _free(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            slot.free()
            self._give_back(slot)

    def _give_back(self, place: Reservation | Slot) -> None:
        with self._given_back:
            if self._beside.pop(place, None) is not None:
                self._given_back.notify_all()

    def fill(
        self,
        room: Reservation,
        model: Model,
        free: Free,
        source: TierName,
        seconds: float,
        content: Content,
    ) -> Lease:
        """What a reservation does at its end: keep the model, or lease the only copy, which goes with the lease."""
        release = room.release
        with self._lock:
            self._reserved.pop(room, None)
            own = self._beside.pop(room, None) is not None
            # Where a second load of the version was faster, this one's goes with its lease.
            room.outrun = release.key in self._slots
            cache = room.cached and not room.outrun
            cached, victims = self._admit(release, model.bytes) if cache else (False, [])
            slot = Slot(release.key, model, model.bytes, free, self._now(), seconds)
            lease = Lease(self, slot, cached=cached, source=source)
            if cached:
                self._slots[release.key] = slot
                slot.content = content if own else _NO_CONTENT
            else:
                slot.going = True
                self._leaving.add(slot)
            if own or not cached:
                self._beside[slot] = release
        self._free(victims)
        return lease

    def cancel(self, room: Reservation) -> None:
        """The load of a reservation failed."""
        with self._lock:
            self._reserved.pop(room, None)
        self._give_back(room)

    def store(self, release: Release, content: Content, guard: Guard) -> None:
        if self.holds(release.key):
            return
        guard.check()
        started = self._now()
        with self.reserve(release, guard) as room:
            model = self.build(release, content)
            lease = room.fill(model, _nothing, self.name, self._now() - started)
        lease.release()
        if not lease.cached and not room.outrun:
            raise NoRoomError(f"{release.key}: its {model.bytes} bytes would push out what is worth more")

    def evict(self, key: VersionKey) -> bool:
        self._collect()
        with self._lock:
            slot = self._slots.get(key)
            if slot is None or self._budget.appraise(key).pinned or not slot.vacate():
                return False
            del self._slots[key]
        self._free([slot])
        return True

    def purge(self, key: VersionKey) -> None:
        with self._lock:
            if (slot := self._slots.pop(key, None)) is None:
                return
            self._leaving.add(slot)
            slot.going = True
        # Whoever holds it still frees it at the end.
        if not slot.holders:
            self.ended(slot)

    def touch(self, key: VersionKey) -> None:
        with self._lock:
            if (slot := self._slots.get(key)) is not None:
                slot.used_at = self._now()

    def expire(self) -> list[VersionKey]:
        self._collect()
        old = [entry.key for entry in self.entries() if entry.idle > self._idle]
        return [key for key in old if self.evict(key)]

    def close(self) -> None:
        for key in list(self._slots):
            self.purge(key)

    def _admit(self, release: Release, size: int) -> tuple[bool, list[Slot]]:
        """Whether it may stay, and what goes for it."""
        try:
            victims = self._budget.admit(self._occupants(), self._used(), release.key, size)
        except TooLargeError:
            raise
        except NoRoomError:
            return False, []
        if not all(self._slots[key].vacate() for key in victims):
            # Somebody leased one in this very moment: those that were told to go stay.
            for key in victims:
                self._slots[key].going = False
            return False, []
        return True, [self._slots.pop(key) for key in victims]

    def _occupants(self) -> list[Occupant]:
        now = self._now()
        return [
            Occupant(s.key, s.bytes, bool(s.holders), now - s.stored_at, now - s.used_at, s.load_seconds)
            for s in self._slots.values()
        ]

    def _used(self) -> int:
        held = sum(slot.bytes for slot in (*self._slots.values(), *self._leaving))
        return held + sum(self._reserved.values())


class Reservation:
    """Room on the device for one load; given back at the end of the `with` block unless it was filled.

    `outrun`: when it was, another load of the version had been faster.
    """

    def __init__(self, tier: DeviceTier, release: Release, *, cached: bool) -> None:
        self._tier = tier
        self.release = release
        self.cached = cached
        self.outrun = False

    def own(self, guard: Guard) -> None:
        """The files come into memory of this process's own, once there is room beside the budget.

        Raises NoRoomError, and what `guard` raises.
        """
        self._tier.own(self, guard)

    def fill(
        self, model: Model, free: Free, source: TierName, seconds: float, content: Content = _NO_CONTENT
    ) -> Lease:
        """The load came through, from `source`; `free` lets go of what the weights are views of, `content`."""
        return self._tier.fill(self, model, free, source, seconds, content)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        self._tier.cancel(self)


def _size(release: Release) -> int:
    """Bytes that it takes beside the budget: on a CPU those of all its files, which are only its own."""
    return max(release.bytes, release.manifest.bytes.device)


def _nothing() -> None:
    """Weights of their own have nothing to let go of."""
