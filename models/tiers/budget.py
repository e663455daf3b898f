"""A tier's budget: measured bytes and the eviction policy, asked with what is known of each version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models import eviction
from models.errors import NoRoomError, TooLargeError
from models.eviction import Held, Incoming, Reason, Rules
from models.priority import ModelPriority
from models.release import VersionKey
from models.tiers.protocol import Appraise, Worth


@dataclass(frozen=True, slots=True)
class Occupant:
    """A version in a tier: bytes as measured, seconds since it came and was last used, seconds that its load took."""

    key: VersionKey
    bytes: int
    leased: bool
    age: float
    idle: float
    load_seconds: float


def expected_seconds(size: int) -> float:
    """What a load of a version takes that was never loaded: opening and building, then half a second a gigabyte."""
    return 0.02 + 0.5e-9 * size


class Budget:
    """Says what goes so that a version fits. `setting` names the budget in errors."""

    def __init__(
        self,
        setting: str,
        rules: Rules,
        appraise: Appraise,
        now: Callable[[], float],
    ) -> None:
        self.appraise = appraise
        self.setting = setting
        self._rules = rules
        self._now = now

    @property
    def limit(self) -> int:
        """Bytes that the tier may hold."""
        return self._rules.budget

    def admit(self, occupants: Sequence[Occupant], used: int, key: VersionKey, size: int) -> list[VersionKey]:
        """The versions that go for `size` bytes of `key`; `used` counts what is being written, too.

        Raises TooLargeError when nothing would help, NoRoomError when what is there is worth more or leased.
        """
        now, worth = self._now(), self.appraise(key)
        by_name = {occupant.key.folder: occupant.key for occupant in occupants}
        held = [self._held(occupant, now) for occupant in occupants]
        incoming = self._incoming(key, size, worth)
        decision = eviction.admit(held, incoming, self._rules, now, _unlisted(occupants, used), worth.known)
        if decision.admitted:
            return [by_name[name] for name in decision.evict]
        if decision.reason is Reason.TOO_LARGE:
            raise TooLargeError(self._too_large(key, size, worth.priority))
        raise NoRoomError(
            f"{key}: its {size} bytes would not fit {self.setting} of {self.limit} bytes: {decision.reason.value}"
        )

    def fits(self, occupants: Sequence[Occupant], used: int, key: VersionKey, size: int) -> bool:
        """Whether `admit` would let nothing go."""
        now = self._now()
        held = [self._held(occupant, now) for occupant in occupants]
        incoming = self._incoming(key, size, self.appraise(key))
        return eviction.fits(held, incoming, self._rules, _unlisted(occupants, used))

    @staticmethod
    def _incoming(key: VersionKey, size: int, worth: Worth) -> Incoming:
        # The next use that is known is the one that brings it in; what counts is the one after that.
        return Incoming(
            key.folder,
            size,
            worth.cost or expected_seconds(size),
            worth.demand_before,
            worth.priority,
            None,
            pinned=worth.pinned,
        )

    def _too_large(self, key: VersionKey, size: int, priority: ModelPriority) -> str:
        if size > self.limit:
            return (
                f"{key}: its {size} bytes do not fit {self.setting} of {self.limit} bytes, even alone; "
                "raise that budget or make the model smaller"
            )
        return (
            f"{key}: its {size} bytes are more than priority {priority.name.lower()} may use of {self.setting}: "
            f"{self._rules.allowance(priority)} of {self.limit} bytes; raise its priority or that budget, or lower "
            "cache.reserved_for_high"
        )

    def _held(self, occupant: Occupant, now: float) -> Held:
        worth = self.appraise(occupant.key)
        return Held(
            occupant.key.folder,
            occupant.bytes,
            worth.cost or occupant.load_seconds or expected_seconds(occupant.bytes),
            worth.demand,
            worth.priority,
            worth.pinned,
            occupant.leased,
            now - occupant.age,
            now - occupant.idle,
            worth.next_use,
        )


def _unlisted(occupants: Sequence[Occupant], used: int) -> int:
    """Bytes in use of what is not among the occupants."""
    return used - sum(occupant.bytes for occupant in occupants)
