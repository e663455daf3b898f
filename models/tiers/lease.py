"""Leases of models on a device, counted without a lock: four threads that ask for one model do not queue for it.

Who takes a lease first writes itself down and then looks whether the model is going; who lets a model go first says so
and then looks whether anybody is written down. Whichever comes second sees the other (Dekker's way; one set operation
is atomic in Python).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from models.protocols import Model
from models.release import Content, VersionKey
from models.tiers.protocol import TierName

Free = Callable[[], None]

_HOLDERS = itertools.count()


class Slot:
    """One model on the device; `free` lets go of what its weights are views of. Times are of the tier's clock.

    `content`: the files, where they are in memory of this process's own.
    """

    __slots__ = (
        "_uses",
        "bytes",
        "content",
        "free",
        "going",
        "hits",
        "holders",
        "key",
        "load_seconds",
        "model",
        "stored_at",
        "used_at",
    )

    def __init__(
        self, key: VersionKey, model: Model, size: int, free: Free, now: float, load_seconds: float = 0.0
    ) -> None:
        self.key = key
        self.model = model
        self.bytes = size
        self.free = free
        self.content: Content = {}
        self.stored_at = self.used_at = now
        self.load_seconds = load_seconds
        self.holders: set[int] = set()
        self.going = False
        self.hits = 0
        self._uses = itertools.count(1)

    def use(self, now: float) -> None:
        """Count a look-up."""
        self.used_at = now
        self.hits = next(self._uses)

    def vacate(self) -> bool:
        """Take it out of use; False, with nothing changed, while somebody holds it."""
        self.going = True
        if self.holders:
            self.going = False
            return False
        return True


class Owner(Protocol):
    """The tier that a slot belongs to."""

    forgotten: deque[tuple[Slot, int]]

    def ended(self, slot: Slot) -> None:
        """The last lease of a slot that is going has ended."""


class Lease:
    """A model that stays until this is released; also a context manager that gives the model."""

    __slots__ = ("_held", "_holder", "_owner", "_slot", "cached", "key", "model", "source")

    def __init__(
        self, owner: Owner, slot: Slot, *, cached: bool = True, source: TierName = TierName.DEVICE
    ) -> None:
        # Not id(self): of a lease that was forgotten it may be another's before it is taken back.
        self._holder = next(_HOLDERS)
        slot.holders.add(self._holder)
        self._held = True
        self._owner = owner
        self._slot = slot
        self.model = slot.model
        self.key = slot.key
        self.cached = cached
        self.source = source

    def share(self) -> Lease:
        """Another lease of the same model."""
        return Lease(self._owner, self._slot, cached=self.cached, source=self.source)

    def release(self) -> None:
        """The model may go from now on; a second time does nothing."""
        if self._held:
            self._held = False
            end_lease(self._owner, self._slot, self._holder)

    def __del__(self) -> None:
        # Whoever forgets to release gives it back when the lease is collected; a lock must not be taken here.
        if self._held:
            self._held = False
            self._owner.forgotten.append((self._slot, self._holder))

    def __enter__(self) -> Model:
        return self.model

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def end_lease(owner: Owner, slot: Slot, holder: int) -> None:
    """What a lease does at its end."""
    slot.holders.discard(holder)
    if slot.going and not slot.holders:
        owner.ended(slot)
