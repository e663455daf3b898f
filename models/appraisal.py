"""What the eviction policy is told of each version: demand, reload cost, class, pins, and what is known to come."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence

from models.demand import Demand
from models.priority import ModelPriority
from models.release import VersionKey
from models.tiers.budget import expected_seconds
from models.tiers.protocol import Worth

_MOST_UNREAD = 10_000


class Appraisals:
    """Kept per process, for all tiers; from any thread."""

    def __init__(self, demand: Demand, now: Callable[[], float]) -> None:
        self._demand = demand
        self._now = now
        self._seconds: dict[VersionKey, float] = {}
        self._wanted: set[VersionKey] = set()
        self._priorities: dict[VersionKey, dict[str, ModelPriority]] = {}
        self._pinned: set[VersionKey] = set()
        self._coming: dict[VersionKey, int] = {}
        self._asked: deque[tuple[VersionKey, float]] = deque(maxlen=_MOST_UNREAD)
        self._lock = threading.Lock()

    def note(self, key: VersionKey) -> None:
        """Somebody asked for it; costs next to nothing, what it means is worked out when a policy asks."""
        self._asked.append((key, self._now()))

    def loaded(self, key: VersionKey, seconds: float) -> None:
        """A load took so long: what the next one is expected to take."""
        self._seconds[key] = seconds
        self._wanted.add(key)

    def wanted(self, key: VersionKey) -> bool:
        """Whether this process has loaded it, and it was neither let go nor left idle since."""
        return key in self._wanted

    def idle(self, key: VersionKey) -> None:
        """Nobody asked for it for long: it is not brought back unless somebody does."""
        self._wanted.discard(key)

    def let_go(self, key: VersionKey) -> None:
        """Somebody wants it gone: it is not brought back unless it is asked for."""
        self._pinned.discard(key)
        self._wanted.discard(key)

    def cost(self, key: VersionKey, size: int) -> float:
        """Seconds that a load is expected to take."""
        return self._seconds.get(key, expected_seconds(size))

    def prioritize(self, keys: Collection[VersionKey], name: str, priority: ModelPriority) -> None:
        """The versions that this name means now have that priority by it; of several names the highest counts."""
        with self._lock:
            for names in self._priorities.values():
                names.pop(name, None)
            for key in keys:
                self._priorities.setdefault(key, {})[name] = priority

    def pin(self, key: VersionKey) -> None:
        """It is never evicted, whatever else wants room."""
        self._pinned.add(key)

    def expect(self, keys: Sequence[VersionKey]) -> None:
        """The versions that will be asked for next, in this order; what was expected before is forgotten."""
        coming: dict[VersionKey, int] = {}
        for place, key in enumerate(keys, start=1):
            coming.setdefault(key, place)
        self._coming = coming

    def appraise(self, key: VersionKey) -> Worth:
        """All that is known of it."""
        with self._lock:
            while self._asked:
                asked, moment = self._asked.popleft()
                self._demand.note(asked.folder, moment)
            demand = self._demand.of(key.folder, self._now())
            before = self._demand.before(key.folder, self._now())
            priority = max(self._priorities.get(key, {}).values(), default=ModelPriority.MEDIUM)
        return Worth(
            demand,
            before,
            self._seconds.get(key, 0.0),
            priority,
            key in self._pinned,
            self._coming.get(key),
            len(self._coming),
        )
