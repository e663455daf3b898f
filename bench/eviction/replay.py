"""A trace through a cache."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.eviction.rivals import Rule
from bench.eviction.traces import Trace
from models.demand import Demand
from models.eviction import Held, Incoming, Rules, admit
from models.priority import ModelPriority


def load_seconds(trace: Trace, rule: Rule) -> float:
    """Seconds that the requests of a trace spend on loads."""
    return sum(trace.models[key].cost for key in trace.requests if not rule.request(key))


@dataclass(slots=True)
class Policy:
    """The shipped policy as a rule; its clock counts requests, of which it sees the next `look_ahead`."""

    trace: Trace
    budget: int
    look_ahead: int = 0
    _demand: Demand = field(default_factory=Demand)
    _used_at: dict[str, float] = field(default_factory=dict)
    _loaded_at: dict[str, float] = field(default_factory=dict)
    _place: int = -1

    def request(self, key: str) -> bool:
        self._place += 1
        self._demand.note(key, self._place)
        hit = key in self._used_at
        if hit or self._admitted(key):
            self._used_at[key] = self._place
        return hit

    def _admitted(self, key: str) -> bool:
        next_use = self._next_uses()
        model = self.trace.models[key]
        incoming = Incoming(
            key,
            model.bytes,
            model.cost,
            self._demand.before(key, self._place),
            ModelPriority.MEDIUM,
            next_use.get(key),
        )
        held = [self._held(each, next_use.get(each)) for each in self._used_at]
        decision = admit(held, incoming, Rules(self.budget), self._place, look_ahead=self.look_ahead)
        for victim in decision.evict:
            del self._used_at[victim], self._loaded_at[victim]
        if decision.admitted:
            self._loaded_at[key] = self._place
        return decision.admitted

    def _held(self, key: str, next_use: int | None) -> Held:
        model = self.trace.models[key]
        return Held(
            key,
            model.bytes,
            model.cost,
            self._demand.of(key, self._place),
            ModelPriority.MEDIUM,
            pinned=False,
            leased=False,
            loaded_at=self._loaded_at[key],
            used_at=self._used_at[key],
            next_use=next_use,
        )

    def _next_uses(self) -> dict[str, int]:
        """How many requests ahead each key of the window comes first."""
        window = self.trace.requests[self._place + 1 : self._place + 1 + self.look_ahead]
        return {key: distance for distance, key in reversed(list(enumerate(window, 1)))}
