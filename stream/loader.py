"""The loader: brings the models that waiting claims need, follows the aliases, and never makes scoring wait."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from models import DeviceError, FeatureEncoder, ModelError, ModelIdentity, VersionKey
from stream.clock import Clock
from stream.errors import FatalError
from stream.lanes import Lanes, LaneView
from stream.load_policy import AbsentLane, LoadReason, due
from stream.metrics import StageMetrics
from stream.peaks import peak_ahead
from stream.roster import LaneModel, LaneShare, Roster
from stream.scoring import ModelLease, ScoringModel

log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_BUSY_SECONDS = 0.01
_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 30.0
_DELIVERY_ALLOWANCE = 0.01


class LoadedModel(ScoringModel, Protocol):
    """What the loader learns of a model once it is there."""

    @property
    def features(self) -> FeatureEncoder: ...

    @property
    def decisions(self) -> tuple[str, ...]: ...


class Lease(ModelLease, Protocol):
    """A lease that can be given up, and shared."""

    @property
    def model(self) -> LoadedModel: ...

    def share(self) -> Lease: ...

    def release(self) -> None: ...


class Load(Protocol):
    """A load in progress."""

    @property
    def done(self) -> bool: ...

    def take(self) -> Lease:
        """The lease, or the error that ended it. Raises ModelError."""


class Models(Protocol):
    """The cache as the loader needs it."""

    def shares(self, reference: str) -> tuple[tuple[VersionKey, int], ...]:
        """The versions that a name means now, and their weights. Raises ModelError."""

    def resident(self, key: VersionKey) -> Lease | None: ...

    def holds(self, key: VersionKey) -> bool: ...

    def begin(self, key: VersionKey) -> Load:
        """Begin to load it, or join whoever does. Raises ModelError where no load can begin now."""

    def room(self, key: VersionKey) -> bool:
        """Whether it fits on the device without anything going."""

    def load_seconds(self, key: VersionKey) -> float:
        """Seconds that a load is expected to take."""

    def expect(self, keys: Sequence[VersionKey]) -> None:
        """The versions that will be asked for next, in this order."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Cron expressions of peaks, and the models that they need beside those of the routes."""

    peaks: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


class Loader:
    """Lane `i` belongs to version `keys[i]`. One thread calls `step`; `resident` and `ready` are for any."""

    def __init__(
        self,
        models: Models,
        roster: Roster,
        lanes: Lanes,
        clock: Clock,
        metrics: StageMetrics,
        schedule: Schedule = Schedule(),
        check: Callable[[LoadedModel], None] = lambda _: None,
    ) -> None:
        """`check` raises ModelError for a model that cannot serve here."""
        self._models = models
        self._roster = roster
        self._lanes = lanes
        self._clock = clock
        self._metrics = metrics
        self._schedule = schedule
        self._check = check
        self._keys: list[VersionKey] = []
        self._served: dict[str, tuple[tuple[VersionKey, int], ...]] = {}
        self._loads: dict[VersionKey, Load] = {}
        self._held: dict[VersionKey, Lease] = {}
        self._backoff: dict[VersionKey, float] = {}
        self._retry_at: dict[VersionKey, float] = {}
        self._hold_until: dict[VersionKey, float] = {}
        self._awaited: dict[str, set[VersionKey]] = {}
        self._forsaken: deque[int] = deque()
        self._expecting = False
        self._next_look = 0.0
        self.draining = False
        self.landed = False

    def open(self) -> None:
        """Load what every model of the routes means now, before the first claim. Raises ModelError."""
        for reference in self._roster.references:
            shares = self._models.shares(reference)
            for key, _ in shares:
                if key not in self._keys:
                    lease = self._models.resident(key) or self._models.begin(key).take()
                    self._enlist(key, lease.model)
                    lease.release()
            self._serve(reference, shares)

    def step(self, now: float) -> float:
        """Follow the aliases, take what was loaded, begin what waiting claims need.

        Raises FatalError when the device failed.
        """
        if now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            for reference in self._roster.references:
                self._follow(reference, now)
            self._prepare(now)
        self._land(now)
        waiting = sorted(self._lanes.views(now), key=lambda view: view.deadline)
        absent = [view for view in waiting if not self.ready(view.lane)]
        if absent or self._expecting:
            # Said once more when nothing is absent any longer, or old expectations would weigh for ever.
            self._models.expect([self._keys[view.lane] for view in waiting] if absent else [])
            self._expecting = bool(absent)
        due_at = self._begin(absent, now)
        self._let_go(now)
        return min(self._next_look, due_at, now + _BUSY_SECONDS if self._loads else due_at)

    def identity(self, lane: int) -> ModelIdentity:
        """Whose lane it is."""
        return self._roster.lanes[lane].identity

    def names(self, lane: int) -> frozenset[str]:
        """The models of routes that it scores for, as people write them."""
        return self._roster.names(lane)

    def ready(self, lane: int) -> bool:
        """Whether the lane's model is on the device."""
        key = self._keys[lane]
        return key in self._held or self._models.holds(key)

    def resident(self, lane: int) -> Lease | None:
        """A lease of the lane's model if it is on the device; never waits."""
        key = self._keys[lane]
        if (lease := self._models.resident(key)) is not None or (held := self._held.get(key)) is None:
            return lease
        lease = held.share()
        if self._held.get(key) is held:
            return lease
        # It was let go in this moment, and with it perhaps the model.
        lease.release()
        return None

    def forsaken(self) -> list[int]:
        """Lanes whose claims wait for a version that no name means any more and that cannot be loaded; each once."""
        return [self._forsaken.popleft() for _ in range(len(self._forsaken))]

    def close(self) -> None:
        """Let go of what is held."""
        for lease in self._held.values():
            lease.release()
        self._held.clear()

    def _follow(self, reference: str, now: float) -> None:
        try:
            shares = self._models.shares(reference)
        except ModelError as error:
            log.warning("%s: its version stays: %s", reference, error)
            return
        if shares == self._served.get(reference):
            self._awaited.pop(reference, None)
            return
        missing = [key for key, _ in shares if key not in self._keys or not self.ready(self._keys.index(key))]
        self._awaited[reference] = {key for key, _ in shares} if missing else set()
        for key in missing:
            self._want(key, now)
        if not missing:
            self._serve(reference, shares)

    def _prepare(self, now: float) -> None:
        """Before a peak: what it needs comes to the device, and stays there until the peak has begun."""
        wall = self._clock.wall()
        if (peak := peak_ahead(self._schedule.peaks, wall)) is None:
            return
        for reference in (*self._roster.references, *self._schedule.models):
            try:
                shares = self._models.shares(reference)
            except ModelError as error:
                log.debug("%s: not made ready for the peak: %s", reference, error)
                continue
            for key, _ in shares:
                self._hold_until[key] = now + peak - wall
                if key not in self._held:
                    self._want(key, now)

    def _serve(self, reference: str, shares: tuple[tuple[VersionKey, int], ...]) -> None:
        """From the next poll on. Claims that have a version keep it."""
        self._roster.serve(reference, [LaneShare(self._keys.index(key), weight) for key, weight in shares])
        self._served[reference] = shares
        self._lanes.serve(self._roster.serving)
        log.info("%s: served by %s", reference, ", ".join(f"{key} ({weight})" for key, weight in shares))

    def _want(self, key: VersionKey, now: float) -> bool:
        """Whether its load began now."""
        if key in self._loads or now < self._retry_at.get(key, 0.0):
            return False
        try:
            self._loads[key] = self._models.begin(key)
        except ModelError as error:
            self._put_off(key, error, now)
            return False
        return True

    def _land(self, now: float) -> None:
        self.landed = False
        for key in [key for key, load in self._loads.items() if load.done]:
            load = self._loads.pop(key)
            try:
                lease = self._taken(key, load)
            except DeviceError as error:
                # No try of this process would succeed; a new one begins with a sound device.
                raise FatalError(f"{key} cannot go on: {error}") from error
            except ModelError as error:
                self._put_off(key, error, now)
                continue
            self._backoff.pop(key, None)
            # Kept until the claims that it was loaded for are scored, or no other load would ever serve them.
            self._held[key] = lease
            self._next_look = now
            self.landed = True

    def _taken(self, key: VersionKey, load: Load) -> Lease:
        """What was loaded, with a lane of its own where a route asked for it. Raises ModelError."""
        lease = load.take()
        if key not in self._keys and any(key in keys for keys in self._awaited.values()):
            try:
                self._enlist(key, lease.model)
            except ModelError:
                lease.release()
                raise
        return lease

    def _put_off(self, key: VersionKey, error: ModelError, now: float) -> None:
        wait = self._backoff[key] = min(2 * self._backoff.get(key, _FIRST_BACKOFF / 2), _LONGEST_BACKOFF)
        self._retry_at[key] = now + wait
        self._metrics.count("model_load_failures_total", 1, key.name, key.version)
        log.error("%s: not loaded, the next try is in %.0f s: %s", key, wait, error)
        if key in self._keys and (lane := self._keys.index(key)) not in self._roster.serving:
            self._forsaken.append(lane)

    def _begin(self, absent: Sequence[LaneView], now: float) -> float:
        """Begin the loads that are due; when to ask again."""
        again = float("inf")
        for view in absent:
            key = self._keys[view.lane]
            decision = due(self._absent(view, key), now, draining=self.draining)
            if isinstance(decision, LoadReason):
                if self._want(key, now):
                    self._metrics.count("model_loads_begun_total", 1, decision.value)
                again = min(again, max(now + _BUSY_SECONDS, self._retry_at.get(key, 0.0)))
            else:
                again = min(again, decision)
        return again

    def _absent(self, view: LaneView, key: VersionKey) -> AbsentLane:
        load = self._models.load_seconds(key)
        return AbsentLane(
            view.lane, view.since, view.deadline, load, _DELIVERY_ALLOWANCE, self._models.room(key)
        )

    def _let_go(self, now: float) -> None:
        waiting = {self._keys[view.lane] for view in self._lanes.views(now)}
        awaited = {key for keys in self._awaited.values() for key in keys}
        for key in list(self._held):
            kept = key in awaited or now < self._hold_until.get(key, now) or key in waiting
            if not kept:
                self._held.pop(key).release()

    def _enlist(self, key: VersionKey, model: LoadedModel) -> None:
        self._check(model)
        identity: ModelIdentity = model.identity
        self._lanes.add()
        self._keys.append(key)
        self._roster.add(LaneModel(identity, model.spec_digest, model.features, model.decisions))
