"""Three models with room for two: what gathering saves beyond any eviction; the shipped policies on a virtual clock."""

from __future__ import annotations

import heapq
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.plots import loads_plot
from bench.report import Figure
from models.demand import Demand
from models.eviction import Held, Incoming, Rules, admit
from models.priority import ModelPriority
from models.tiers.budget import expected_seconds
from stream.load_policy import AbsentLane, LoadReason, due

SIZES = {"claims_filter": 850_000_000, "fraud_detector": 1_200_000_000, "coding_check": 600_000_000}
BUDGET = 2_100_000_000
THIRD = "coding_check"
# Seconds of a forward of n claims, and the largest micro-batch.
FIXED, EACH, LARGEST = 0.004, 0.0001, 512
_LOADERS = 2

Begin = Callable[[AbsentLane, float], LoadReason | float]


@dataclass(frozen=True, slots=True)
class Setting:
    """Claims a second of all models together, seconds of the latency budget, parts of the three models."""

    name: str
    rate: float
    budget: float
    shares: tuple[float, float, float]


SETTINGS = (
    Setting("even", 300.0, 0.2, (0.34, 0.33, 0.33)),
    Setting("even, 2 s", 300.0, 2.0, (0.34, 0.33, 0.33)),
    Setting("rare third", 300.0, 0.2, (0.55, 0.42, 0.03)),
    Setting("rare third, 2 s", 300.0, 2.0, (0.55, 0.42, 0.03)),
)


@dataclass(slots=True)
class Lane:
    """Claims of one model that wait: arrival times, oldest first."""

    waiting: deque[float] = field(default_factory=deque)
    latencies: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Resident:
    """A model on the device; one that is not cached goes when its lane is empty."""

    loaded_at: float
    used_at: float
    cached: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """Loads, and latencies in seconds by model."""

    loads: int
    latencies: dict[str, npt.NDArray[np.float64]]

    def quantile(self, names: list[str], share: float) -> float:
        return float(np.quantile(np.concatenate([self.latencies[name] for name in names]), share))


class Simulation:
    """One scoring loop and two loaders; a load keeps only its own lane waiting."""

    def __init__(self, setting: Setting, begin: Begin) -> None:
        self._setting = setting
        self._begin = begin
        self._lanes = {name: Lane() for name in SIZES}
        self._demand = Demand()
        self._residents: dict[str, Resident] = {}
        self._loading: dict[str, bool] = {}
        self._events: list[tuple[float, int, str]] = []
        self._count = 0
        self._scoring = False
        self._loads = 0

    def run(self, arrivals: list[tuple[float, str]]) -> Outcome:
        for moment, name in arrivals:
            self._later(moment, f"claim {name}")
        while self._events:
            now, _, event = heapq.heappop(self._events)
            kind, _, name = event.partition(" ")
            getattr(self, f"_{kind}")(name, now)
            self._score_next(now)
            self._load_next(now)
        return Outcome(self._loads, {name: np.array(lane.latencies) for name, lane in self._lanes.items()})

    def _claim(self, name: str, now: float) -> None:
        self._lanes[name].waiting.append(now)

    def _scored(self, _name: str, _now: float) -> None:
        self._scoring = False

    def _look(self, _name: str, _now: float) -> None:
        """A moment at which the policy wants to be asked again."""

    def _loaded(self, name: str, now: float) -> None:
        self._residents[name] = Resident(now, now, self._loading.pop(name))

    def _score_next(self, now: float) -> None:
        """The lane with the earliest deadline among those whose model is there."""
        for name in [
            name
            for name, each in self._residents.items()
            if not each.cached and not self._lanes[name].waiting
        ]:
            del self._residents[name]
        ready = [name for name in self._residents if self._lanes[name].waiting]
        if self._scoring or not ready:
            return
        name = min(ready, key=lambda each: self._lanes[each].waiting[0])
        lane = self._lanes[name]
        count = min(len(lane.waiting), LARGEST)
        end = now + FIXED + EACH * count
        lane.latencies += [end - lane.waiting.popleft() for _ in range(count)]
        self._demand.note(name, now)
        self._residents[name].used_at = now
        self._scoring = True
        self._later(end, "scored")

    def _load_next(self, now: float) -> None:
        for name in self._urgent():
            if name in self._residents or name in self._loading or len(self._loading) >= _LOADERS:
                continue
            decision = self._begin(self._absent(name), now)
            if isinstance(decision, LoadReason):
                self._load(name, now)
            elif decision < float("inf"):
                self._later(max(decision, now + 0.001), "look")

    def _load(self, name: str, now: float) -> None:
        newcomer = Incoming(
            name,
            SIZES[name],
            expected_seconds(SIZES[name]),
            self._demand.before(name, now),
            ModelPriority.MEDIUM,
        )
        held = [self._held(each, now) for each, resident in self._residents.items() if resident.cached]
        coming = sum(SIZES[each] for each, cached in self._loading.items() if cached)
        decision = admit(held, newcomer, Rules(BUDGET), now, coming, len(self._urgent()))
        for victim in decision.evict:
            del self._residents[victim]
        self._loading[name] = decision.admitted
        self._loads += 1
        self._later(now + expected_seconds(SIZES[name]), f"loaded {name}")

    def _urgent(self) -> list[str]:
        """Models that claims wait for, by deadline."""
        waiting = [name for name, lane in self._lanes.items() if lane.waiting]
        return sorted(waiting, key=lambda name: self._lanes[name].waiting[0])

    def _absent(self, name: str) -> AbsentLane:
        since = self._lanes[name].waiting[0]
        taken = sum(SIZES[each] for each in (*self._residents, *self._loading))
        return AbsentLane(
            0,
            since,
            since + self._setting.budget,
            expected_seconds(SIZES[name]),
            0.01,
            taken + SIZES[name] <= BUDGET,
        )

    def _held(self, name: str, now: float) -> Held:
        resident, urgent = self._residents[name], self._urgent()
        return Held(
            name,
            SIZES[name],
            expected_seconds(SIZES[name]),
            self._demand.of(name, now),
            ModelPriority.MEDIUM,
            False,
            False,
            resident.loaded_at,
            resident.used_at,
            urgent.index(name) + 1 if name in urgent else None,
        )

    def _later(self, moment: float, event: str) -> None:
        self._count += 1
        heapq.heappush(self._events, (moment, self._count, event))


def measure_gathering(*, quick: bool, plots: Path) -> list[Figure]:
    """Loads and latencies with and without gathering; and of the two others when the third model does not exist."""
    seconds, seeds = (60.0, (1,)) if quick else (120.0, (1, 2))
    runs = {setting.name: [_compare(setting, seconds, seed) for seed in seeds] for setting in SETTINGS}
    loads_plot(
        {name: [(one.loads, two.loads) for one, two, _ in each] for name, each in runs.items()},
        plots / "gathering.png",
    )
    even = [1 - gathered.loads / at_once.loads for at_once, gathered, _ in runs["even"]]
    others = [name for name in SIZES if name != THIRD]
    unharmed = [
        gathered.quantile(others, 0.99) / alone.quantile(others, 0.99)
        for _, gathered, alone in runs["rare third"]
    ]
    return [
        Figure(
            "loads_saved",
            statistics.median(even),
            "",
            "",
            "; ".join(_words(*each) for each in runs.items()),
        ),
        Figure(
            "latency_of_cached_ratio",
            statistics.median(unharmed),
            "x",
            "",
            "P99 of the two models that stay, over the same when nobody asks for the third (3 % of claims)",
        ),
    ]


def _compare(setting: Setting, seconds: float, seed: int) -> tuple[Outcome, Outcome, Outcome]:
    arrivals = _arrivals(setting, seconds, seed)
    without = [(moment, name) for moment, name in arrivals if name != THIRD]
    return (
        Simulation(setting, lambda _lane, _now: LoadReason.ROOM).run(arrivals),
        Simulation(setting, due).run(arrivals),
        Simulation(setting, due).run(without),
    )


def _arrivals(setting: Setting, seconds: float, seed: int) -> list[tuple[float, str]]:
    random = np.random.default_rng(seed)
    count = random.poisson(setting.rate * seconds)
    moments = np.sort(random.uniform(0.0, seconds, count)).tolist()
    return list(zip(moments, random.choice(list(SIZES), count, p=setting.shares).tolist(), strict=True))


def _words(name: str, runs: list[tuple[Outcome, Outcome, Outcome]]) -> str:
    """Loads and latency in one setting, at once and gathered."""
    at_once, gathered, _ = runs[0]
    return (
        f"{name}: {at_once.loads} loads at once, {gathered.loads} gathered; all claims P50 "
        f"{at_once.quantile(list(SIZES), 0.5):.2f} and {gathered.quantile(list(SIZES), 0.5):.2f} s, P99 "
        f"{at_once.quantile(list(SIZES), 0.99):.2f} and {gathered.quantile(list(SIZES), 0.99):.2f} s"
    )
