"""A day of the mix that users have: two large models and ten small ones; the shipped policies on a virtual clock."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from bench.report import Figure
from models.demand import Demand
from models.eviction import Held, Incoming, Rules, admit
from models.lookups import HitRates, hit_rates
from models.priority import ModelPriority
from models.tiers.budget import expected_seconds
from models.tiers.memory import Lifetime
from models.tiers.protocol import TierName

HOUR = 3_600.0
NEAR = Lifetime(1_800.0, 600.0)
REDIS = Lifetime(14_400.0, 3_600.0)
# Micro-batches a second of one instance at the peak; at night a hundredth of it is left.
PEAK_RATE, NIGHT = 2.0, 0.01
NAMED = {
    "claims_filter_v2.1": (850, 0.45, ModelPriority.HIGH),
    "fraud_detector_v1.0": (1_200, 0.35, ModelPriority.MEDIUM),
}
SMALL_MEGABYTES = (10, 15, 20, 25, 30, 40, 50, 60, 70, 80)
MIX = (
    "one day, three instances, each restarted once; 2 micro-batches a second at noon and a hundredth of that at night; "
    "two named models take 45 % and 35 %, ten of 10 to 80 MB the rest, by Zipf"
)


@dataclass(frozen=True, slots=True)
class MixedModel:
    """A model of the mix: bytes, part of the micro-batches, class."""

    bytes: int
    share: float
    priority: ModelPriority


@dataclass(slots=True)
class Stay:
    """A model in the near tiers of one instance, from its load on."""

    loaded_at: float
    used_at: float


@dataclass
class Instance:
    """Device and RAM of one instance: what is on the device is in RAM as well, as far as that reaches."""

    models: dict[str, MixedModel]
    rules: Rules
    demand: Demand = field(default_factory=Demand)
    stays: dict[str, Stay] = field(default_factory=dict)
    held: float = 0.0
    needed: float = 0.0

    def lacks(self, name: str, now: float) -> bool:
        """Whether a look-up misses; a use is noted."""
        self.demand.note(name, now)
        self.expire(now)
        if (stay := self.stays.get(name)) is None:
            return True
        stay.used_at = now
        return False

    def take(self, name: str, now: float) -> None:
        """A load came through: keep the model if the policy says so."""
        model = self.models[name]
        newcomer = Incoming(
            name, model.bytes, expected_seconds(model.bytes), self.demand.before(name, now), model.priority
        )
        decision = admit([self._held(each, now) for each in self.stays], newcomer, self.rules, now)
        for victim in decision.evict:
            self.let_go(victim, now)
        if decision.admitted:
            self.stays[name] = Stay(now, now)

    def expire(self, now: float) -> None:
        for name in [name for name, stay in self.stays.items() if now - stay.used_at > NEAR.idle]:
            self.let_go(name, self.stays[name].used_at + NEAR.idle)

    def let_go(self, name: str, now: float) -> None:
        stay, size = self.stays.pop(name), self.models[name].bytes
        self.held += size * (now - stay.loaded_at)
        self.needed += size * (stay.used_at - stay.loaded_at)

    def restart(self, now: float) -> None:
        for name in list(self.stays):
            self.let_go(name, now)
        self.demand = Demand()

    def _held(self, name: str, now: float) -> Held:
        model, stay = self.models[name], self.stays[name]
        cost, demand = expected_seconds(model.bytes), self.demand.of(name, now)
        return Held(
            name, model.bytes, cost, demand, model.priority, False, False, stay.loaded_at, stay.used_at
        )


class SharedRedis:
    """What all instances have in Redis: an entry's time is the shorter of its TTL and its idle time."""

    def __init__(self) -> None:
        self._stored: dict[str, float] = {}
        self._used: dict[str, float] = {}

    def holds(self, name: str, now: float) -> bool:
        stored = self._stored.get(name, -math.inf)
        return now < stored + REDIS.ttl and now < self._used.get(name, stored) + REDIS.idle

    def store(self, name: str, now: float) -> None:
        self._stored[name] = self._used[name] = now

    def touch(self, name: str, now: float) -> None:
        self._used[name] = now


def measure_mix(*, quick: bool) -> list[Figure]:
    """Hit rates and memory efficiency, with a GPU's 4 GB, and where models are views of 2 GB of RAM."""
    hours, seeds = (4.0, (1,)) if quick else (24.0, (1, 2))
    gpu = [replay(hours, seed, 4_000_000_000) for seed in seeds]
    cpu = [replay(hours, seed, 2_000_000_000) for seed in seeds]
    return [
        _rate("hit_rate_l1", [rates.l1 for rates, _ in gpu], "≥ 0.942", MIX),
        _rate("hit_rate_l2", [rates.l2 for rates, _ in gpu], "≥ 0.821", "of what missed device and RAM"),
        _rate(
            "memory_efficiency",
            [efficiency for _, efficiency in gpu],
            "≥ 0.893",
            "bytes times seconds from a load to the last use, over those from the load to the end of the stay",
        ),
        _rate(
            "hit_rate_l1_cpu",
            [rates.l1 for rates, _ in cpu],
            "",
            "2 GB for all: the named two do not fit together",
        ),
        _rate("hit_rate_l2_cpu", [rates.l2 for rates, _ in cpu], "", "the same"),
        _rate("memory_efficiency_cpu", [efficiency for _, efficiency in cpu], "", "the same"),
    ]


def replay(hours: float, seed: int, budget: int) -> tuple[HitRates, float]:
    """Hit rates over all instances, and their memory efficiency."""
    models = mixed_models()
    instances = [Instance(models, Rules(budget, budget // 4)) for _ in range(3)]
    redis, served = SharedRedis(), Counter[TierName]()
    restarts = {place: (place + 1) * hours * HOUR / 4 for place in range(len(instances))}
    now = 0.0
    for now, place, name in requests(models, hours, len(instances), seed):
        instance = instances[place]
        if now >= restarts.get(place, math.inf):
            instance.restart(restarts.pop(place))
        if not instance.lacks(name, now):
            served[TierName.DEVICE] += 1
        elif redis.holds(name, now):
            served[TierName.REDIS] += 1
            instance.take(name, now)
        else:
            served[TierName.REPOSITORY] += 1
            redis.store(name, now)
            instance.take(name, now)
        redis.touch(name, now)
    for instance in instances:
        instance.restart(now)
    held = sum(instance.held for instance in instances)
    return hit_rates(dict(served)), sum(instance.needed for instance in instances) / held


def mixed_models() -> dict[str, MixedModel]:
    named = {
        name: MixedModel(megabytes * 1_000_000, share, priority)
        for name, (megabytes, share, priority) in NAMED.items()
    }
    weights = [1 / rank for rank in range(1, len(SMALL_MEGABYTES) + 1)]
    rest = 1 - sum(model.share for model in named.values())
    small = {
        f"small_{rank}": MixedModel(megabytes * 1_000_000, rest * weight / sum(weights), ModelPriority.MEDIUM)
        for rank, (megabytes, weight) in enumerate(zip(SMALL_MEGABYTES, weights, strict=True))
    }
    return named | small


def requests(
    models: dict[str, MixedModel], hours: float, instances: int, seed: int
) -> Iterator[tuple[float, int, str]]:
    """Moment, instance and model of each micro-batch: Poisson, by thinning, with the rate of the hour."""
    random = np.random.default_rng(seed)
    names, shares = list(models), np.array([model.share for model in models.values()])
    now, end = 0.0, hours * HOUR
    while True:
        now += random.exponential(1 / (PEAK_RATE * instances))
        if now >= end:
            return
        if random.random() < _daily(now / end):
            yield now, int(random.integers(instances)), names[random.choice(len(names), p=shares)]


def _daily(moment: float) -> float:
    """Part of the peak rate at a moment of the day, 0 to 1."""
    return NIGHT + (1 - NIGHT) * (0.5 - 0.5 * math.cos(2 * math.pi * moment)) ** 2


def _rate(name: str, values: list[float | None], goal: str, note: str) -> Figure:
    known = [value for value in values if value is not None]
    middle = sum(known) / len(known)
    return Figure(name, middle, "", goal, f"{min(known):.4f} to {max(known):.4f}; {note}")
