"""The stage's own lanes, batcher and gate on a virtual clock, against given arrivals and a device of known speed.

Intake, scoring and output are steps as in the pipeline, called in turn by one loop; what takes time there is a number
here. The same arguments give the same batches.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from types import TracebackType

import numpy as np

from bench.batching.measured import Course
from bench.batching.replay import Places, Served
from models import ModelIdentity
from stream.backpressure import Crowding, Flow, GateLimits, Pressure, ReadingGate, slowness
from stream.batch_policy import Wait
from stream.batching import Batcher, BatchingRules, Chosen, Conditions
from stream.cost_model import LatencyCurve
from stream.lanes import Lanes
from stream.metrics import StageMetrics
from stream.pipeline import PATIENCE
from stream.publishing.arrivals import Floats
from stream.publishing.disturbance import Disturbance
from stream.publishing.workload import Mix, Trace, workload
from stream.recent import RecentQuantile
from stream.records import CloseReason
from stream.rhythm import Rhythm
from stream.scoring import ModelLease, ScoringModel
from stream.speeds import name_of

_ENDLESS = 1 << 30
# A real clock has moved on by this when it is asked again.
_TICK = 1e-6
_STEADY = Disturbance()
_AT_ONCE = LatencyCurve(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class World:
    """What the stage cannot choose. Times in seconds.

    A batch of lane i takes what `curves[i]` says and `per_token` for each of its tokens, times a lognormal factor whose
    logarithm has the deviation `noise`, longer while `device` is disturbed; the next can begin `between` later. Its
    results are acknowledged `delivery` later, times such a factor of `delivery_noise`, or one of those measured, or
    longer while `output` is disturbed. A claim is there for the stage `transport` after its timestamp. What is there
    can be read at any time, or, where there are `gaps` (above 0), whenever another of them has passed.
    """

    curves: tuple[LatencyCurve, ...]
    per_token: float = 0.0
    noise: float = 0.0
    device: Disturbance = _STEADY
    between: float = 0.0
    delivery: float = 0.0
    delivery_noise: float | Course = 0.0
    transport: float = 0.0
    gaps: Course | None = None
    output: Disturbance = _STEADY
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How intake reads the log: bounds and waits as in the stage; without them each claim is read as it comes.

    `claims` in flight, and `ahead` in the shortest lane, fill the gate. A poll takes at most `poll` claims; while more
    follow on each other it waits for them as long as the pipeline does, at most `coalesce` seconds. Claims are in their
    lanes after `seconds` of their count.
    """

    claims: int = _ENDLESS
    ahead: int = _ENDLESS
    poll: int = _ENDLESS
    coalesce: float = 0.0
    seconds: LatencyCurve = _AT_ONCE


@dataclass(frozen=True, slots=True, eq=False)
class Simulated(Served):
    """Batches in their order, shape (b,) each: when they began, of which lane, and why they were closed.

    `decisions` are the seconds of real time that each took to choose and to learn from; `given_up` counts the claims
    that it set aside. `deciding` is the real time of all decisions, those to wait included.
    """

    starts: Floats
    lanes: Places
    reasons: tuple[CloseReason, ...]
    decisions: Floats
    given_up: Places
    deciding: float

    @property
    def makespan(self) -> float:
        """Seconds from the first arrival to the last finish."""
        return float(self.finishes.max() - self.times[0]) if len(self.times) else 0.0

    @property
    def throughput(self) -> float:
        """Claims a second of the makespan."""
        return len(self.times) / self.makespan if self.makespan else 0.0


def simulate(
    claims: Trace | Floats,
    world: World,
    rules: BatchingRules,
    reading: Reading | None = None,
    known: Mapping[int, LatencyCurve] | None = None,
) -> Simulated:
    """Score all claims; `known` is what is known of each lane's speed at the beginning.

    Raises ValueError when claims are left and nothing would ever happen any more.
    """
    trace = claims if isinstance(claims, Trace) else workload(claims, Mix(), 0)
    lanes = Lanes(len(world.curves))
    models = _Resident(len(world.curves))
    speeds = {name_of(models.identity(lane)): curve for lane, curve in (known or {}).items()}
    batcher = Batcher(lanes, models, rules, StageMetrics(), speeds)
    output = _Output(len(trace), world, rules.budget, reading or Reading())
    intake = _Intake(trace, lanes, output, rules.budget, world, reading or Reading())
    scoring = _Scoring(batcher, lanes, trace, world, output)
    now = 0.0
    while output.unfinished:
        scoring.complete(now)
        now = min(output.step(now), intake.step(now), scoring.step(now))
        if now == np.inf and output.unfinished:
            raise ValueError(f"{output.unfinished} claims are left, for which nothing is ever decided")
    return scoring.result()


def _factor(noise: float | Course, now: float, generator: np.random.Generator) -> float:
    if isinstance(noise, Course):
        return noise.draw(now, generator)
    return generator.lognormal(0.0, noise)


def _there(times: Floats, world: World) -> Floats:
    """When claims that have come by `times` can be read."""
    if world.gaps is None or not len(times):
        return times
    generator = np.random.Generator(np.random.Philox(world.seed + 2))
    moments = [times[0]]
    while moments[-1] < times[-1]:
        moments.append(moments[-1] + world.gaps.draw(moments[-1], generator))
    found: Floats = np.array(moments)[np.searchsorted(moments, times)]
    return found


class _Lease:
    def __enter__(self) -> ScoringModel:
        raise NotImplementedError("a simulated model scores nothing")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""


class _Resident:
    """Every model is on the device."""

    def __init__(self, lanes: int) -> None:
        names = [f"lane{lane}" for lane in range(lanes)]
        self._identities = [ModelIdentity(name, "1.0.0", "simulated", "fp32", "none") for name in names]

    def identity(self, lane: int) -> ModelIdentity:
        return self._identities[lane]

    def names(self, lane: int) -> frozenset[str]:  # noqa: ARG002 - none has a priority
        return frozenset()

    def ready(self, lane: int) -> bool:  # noqa: ARG002 - all are
        return True

    def resident(self, lane: int) -> ModelLease | None:  # noqa: ARG002 - all are
        return _Lease()


class _Output:
    """Acknowledges results, counts the claims in flight until then, and knows how long that takes."""

    def __init__(self, claims: int, world: World, budget: float, reading: Reading) -> None:
        self._world = world
        self._budget = budget
        self.bound = reading.claims
        self._pressure = Pressure()
        self._typical = RecentQuantile(0.5, start=world.delivery)
        self._slow = RecentQuantile(0.9, start=world.delivery)
        self._due: list[tuple[float, int, float]] = []
        self._held = 0
        self.unfinished = claims
        self.finishes = np.full(claims, np.nan)
        self._noise = np.random.Generator(np.random.Philox(world.seed + 1))

    @property
    def fill(self) -> float:
        return self._held / self.bound

    def hold(self, count: int) -> None:
        self._held += count

    def put(self, rows: Places, now: float) -> None:
        seconds = self._world.delivery * _factor(self._world.delivery_noise, now, self._noise)
        finish = self._world.output.finish(now, seconds)
        self.finishes[rows] = finish
        heapq.heappush(self._due, (finish, len(rows), finish - now))

    def press(self, conditions: Conditions, queued: int, now: float) -> None:
        """Tell batching what the stage would; `queued` claims wait to be scored."""
        conditions.expect_delivery(self._typical.value, self._slow.value, self._budget)
        parts = {
            "delivery": slowness(self._slow.value, self._budget),
            "claims": (self._held - queued) / self.bound,
        }
        conditions.pressure = self._pressure.update(parts, now)

    def step(self, now: float) -> float:
        while self._due and self._due[0][0] <= now:
            _, count, seconds = heapq.heappop(self._due)
            self._typical.note(seconds)
            self._slow.note(seconds)
            self._held -= count
            self.unfinished -= count
        return self._due[0][0] if self._due else np.inf


class _Intake:
    """Takes claims from the log, where they stay while the gate does not read."""

    def __init__(
        self, trace: Trace, lanes: Lanes, output: _Output, budget: float, world: World, reading: Reading
    ) -> None:
        self._trace = trace
        self._lanes = lanes
        self._output = output
        self._deadlines = trace.times + budget
        self._times = _there(trace.times + world.transport, world)
        self._effort = RecentQuantile(0.5)
        self._reading = reading
        self._gate = ReadingGate(GateLimits())
        self._rhythm = Rhythm()
        self._read = self._admitted = 0
        self._free = -np.inf
        self._flowing = False

    def step(self, now: float) -> float:
        if self._read > self._admitted:
            if now < self._free:
                return self._free
            self._admit(now)
        ahead = self._lanes.ahead(now) / self._reading.ahead
        flow = self._gate.decide({"claims": self._output.fill}, ahead, now).flow
        if flow in (Flow.HOLD, Flow.PAUSE):
            return now + (self._rhythm.hold if flow is Flow.HOLD else self._rhythm.paused_poll)
        if now < (ready := self._next_poll()):
            return ready
        self._poll(now, trickles=flow is Flow.TRICKLE)
        return self.step(now)

    def _next_poll(self) -> float:
        """A poll ends with the first claim that comes, or is there; a bit later while they follow on each other."""
        times, first = self._times, self._read
        if first == len(times):
            return np.inf
        if times[first] > self._free:
            return float(times[first])
        full = times[first + self._reading.poll - 1] if first + self._reading.poll <= len(times) else np.inf
        patience = min(PATIENCE * self._effort.value, self._reading.coalesce) if self._flowing else 0.0
        return max(min(self._free + patience, float(full)), self._free)

    def _poll(self, now: float, *, trickles: bool) -> None:
        arrived = int(self._times.searchsorted(now, side="right"))
        count = min(arrived - self._read, 1 if trickles else self._reading.poll)
        self._read += count
        self._output.hold(count)
        spent = self._reading.seconds.seconds(count)
        if not trickles:
            self._flowing = count > 1
            self._effort.note(spent)
        self._free = now + spent

    def _admit(self, now: float) -> None:
        rows = np.arange(self._admitted, self._read, dtype=np.int32)
        lanes = self._trace.lane[rows]
        for lane in np.unique(lanes).tolist():
            chosen = rows[lanes == lane]
            self._lanes.push(lane, chosen, self._deadlines[chosen], now)
        self._admitted = self._read


@dataclass(slots=True)
class _Log:
    """What is noted of each batch."""

    starts: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    lanes: list[int] = field(default_factory=list)
    reasons: list[CloseReason] = field(default_factory=list)
    decisions: list[float] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)


class _Scoring:
    """The device: one batch after the other."""

    def __init__(self, batcher: Batcher, lanes: Lanes, trace: Trace, world: World, output: _Output) -> None:
        self._batcher = batcher
        self._lanes = lanes
        self._trace = trace
        self._world = world
        self._output = output
        self._crowding = Crowding()
        self._noise = np.random.Generator(np.random.Philox(world.seed))
        self._running: tuple[Chosen, float] | None = None
        self._free = -np.inf
        self._deciding = 0.0
        self._log = _Log()

    def complete(self, now: float) -> None:
        """Pass on the batch that has ended by now."""
        if self._running is not None and now >= self._running[1]:
            self._finish(*self._running)
            self._running = None

    def step(self, now: float) -> float:
        if self._running is not None:
            return self._running[1]
        if now < self._free:
            return self._free
        aside = self._lanes.aside()
        self._batcher.conditions.crowded = self._crowding.decide(aside / self._output.bound)
        self._output.press(self._batcher.conditions, self._lanes.queued(), now)
        started = perf_counter()
        choice = self._batcher.next(now)
        spent = perf_counter() - started
        self._deciding += spent
        if isinstance(choice, Wait):
            return max(choice.until, now + _TICK)
        self._begin(choice, now)
        self._log.decisions.append(spent)
        self._log.given_up.append(choice.decision.given_up)
        return now

    def result(self) -> Simulated:
        log = self._log
        return Simulated(
            self._trace.times,
            self._output.finishes,
            np.array(log.sizes, dtype=np.int64),
            np.array(log.starts),
            np.array(log.lanes, dtype=np.int64),
            tuple(log.reasons),
            np.array(log.decisions),
            np.array(log.given_up, dtype=np.int64),
            self._deciding,
        )

    def _begin(self, chosen: Chosen, now: float) -> None:
        batch, world = chosen.batch, self._world
        seconds = world.curves[batch.lane].seconds(len(batch.rows))
        seconds += world.per_token * int(self._trace.tokens[batch.rows].sum())
        end = world.device.finish(now, seconds * self._noise.lognormal(0.0, world.noise))
        self._running = chosen, end
        self._log.starts.append(now)
        self._log.sizes.append(len(batch.rows))
        self._log.lanes.append(batch.lane)
        self._log.reasons.append(batch.reason)

    def _finish(self, chosen: Chosen, end: float) -> None:
        seconds = end - self._log.starts[-1]
        self._free = end + self._world.between
        started = perf_counter()
        self._batcher.observe(chosen, seconds)
        spent = perf_counter() - started
        self._deciding += spent
        self._log.decisions[-1] += spent
        self._output.put(chosen.batch.rows.astype(np.int64), end)
