"""What every tier does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from models.priority import ModelPriority
from models.release import Content, Release, VersionKey
from models.tiers.sink import Sink


class TierName(StrEnum):
    """The tiers, nearest first."""

    DEVICE = "device"
    MEMORY = "memory"
    REDIS = "redis"
    REPOSITORY = "repository"


@dataclass(frozen=True, slots=True)
class Worth:
    """What the eviction policy is told of a version: chance that a request is for it, seconds to load it again, class,
    pin.

    `demand_before` leaves its last request out. Of the next `known` requests, `next_use` is the first for it, from 1;
    None when none is.
    """

    demand: float = 0.0
    demand_before: float = 0.0
    cost: float = 0.0
    priority: ModelPriority = ModelPriority.MEDIUM
    pinned: bool = False
    next_use: int | None = None
    known: int = 0


Appraise = Callable[[VersionKey], Worth]


@dataclass(frozen=True, slots=True)
class Entry:
    """One version in a tier: measured bytes, seconds since it came and since it was last used."""

    key: VersionKey
    bytes: int
    age: float
    idle: float
    hits: int
    leases: int
    load_seconds: float
    pinned: bool = False


class Guard(Protocol):
    """Stands over a load."""

    def check(self) -> None:
        """Called at every chunk. Raises LoadTimeoutError or LoadCancelledError."""

    def remaining(self) -> float:
        """Seconds until the time-out; infinity without one."""


class Tier(Protocol):
    """A bounded store of versions. Every method may be called from any thread."""

    @property
    def name(self) -> TierName: ...

    @property
    def budget(self) -> int | None:
        """Bytes that it may hold; None where there is no bound."""

    def used(self) -> int:
        """Measured bytes that it holds now, those being written included."""

    def entries(self) -> list[Entry]:
        """What it holds, complete versions only."""

    def holds(self, key: VersionKey) -> bool: ...

    def store(self, release: Release, content: Content, guard: Guard) -> None:
        """Keep a version; nothing happens when it is there already.

        Raises NoRoomError with the reason, or UnreachableError; then nothing of it stays.
        """

    def evict(self, key: VersionKey) -> bool:
        """Let a version go. False when it is leased, pinned or absent."""

    def purge(self, key: VersionKey) -> None:
        """Let a bad copy go; whoever reads it now may finish."""

    def touch(self, key: VersionKey) -> None:
        """Note a use: its idle time begins anew."""

    def expire(self) -> list[VersionKey]:
        """Let go what is older or longer idle than the tier allows; what is leased or pinned stays."""

    def close(self) -> None:
        """Let everything go that is this process's own."""


class ByteTier(Tier, Protocol):
    """A tier that can give the bytes of a version."""

    def read(self, release: Release, sink: Sink, guard: Guard) -> None:
        """Give the chunks of all files to `sink`, which checks them beside the transfer.

        Raises AbsentError, UnreachableError or ArtifactError; whatever `guard` and `sink` raise passes through.
        """
