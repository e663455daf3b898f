"""Which models a tier keeps: pure. What is decided travels with the reason.

Keeping a model saves `cost ÷ requests until its next one` seconds of loading a request. The set that saves most within
the bytes is kept: a knapsack. The newcomer is in it on the same terms as the residents, so that a load which would push
out something dearer is served without being cached.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import NamedTuple

from models.priority import ModelPriority

# A second of loading counts four times as much in each higher class.
_CLASS_FACTOR = 4.0
# Steps of the search among sets: a millisecond. Of 30 models those of unlike density need a quarter of it.
_SEARCH_STEPS = 250


class Reason(StrEnum):
    """Why a newcomer is cached, or not."""

    FITS = "there is room"
    EVICTS = "what goes for it is worth less"
    TOO_LARGE = "it is larger than all that its priority may use"
    ALL_LEASED = "what is there is leased or pinned"
    PROTECTED = "what is there was just loaded"
    OUTRANKED = "what is there is of a higher priority and in use"
    DEARER_RESIDENTS = "what is there would cost more to load again"


@dataclass(frozen=True, slots=True)
class Held:
    """A resident version.

    `cost`: seconds to load it again, measured; `demand`: chance that a request is for it; `loaded_at` and `used_at` in
    seconds; `next_use`: how many requests ahead its next one is known to be, from 1; None when it is not known.
    """

    key: str
    bytes: int
    cost: float
    demand: float
    priority: ModelPriority
    pinned: bool
    leased: bool
    loaded_at: float
    used_at: float
    next_use: int | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """A version that was loaded for a request.

    `demand` leaves that request out (`Demand.before`), `next_use` is the one after it. A pinned one has to stay.
    """

    key: str
    bytes: int
    cost: float
    demand: float
    priority: ModelPriority
    next_use: int | None = None
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """Of one tier: bytes that it may hold, and bytes of them that only models of priority high and critical may use.

    A version is protected for `protection` seconds after its load, and in use for `in_use` seconds after its last use.
    """

    budget: int
    reserved_for_high: int = 0
    protection: float = 0.0
    in_use: float = 60.0

    def allowance(self, priority: ModelPriority) -> int:
        """Bytes that a class may use at most."""
        return self.budget - (0 if priority >= ModelPriority.HIGH else self.reserved_for_high)


@dataclass(frozen=True, slots=True)
class Admission:
    """`evict` goes, least worth first, so that the newcomer fits. Nothing goes for one that is not admitted."""

    admitted: bool
    evict: tuple[str, ...]
    reason: Reason


class _Item(NamedTuple):
    """A model that may be kept, and the seconds a request that this saves."""

    key: str
    bytes: int
    ordinary: bool
    saves: float
    used_at: float

    @property
    def rank(self) -> tuple[float, float, str]:
        """Density; equals in the order of their last use."""
        return self.saves / max(1, self.bytes), self.used_at, self.key


class _Room(NamedTuple):
    """Free bytes, and those of them that ordinary models (below high) may use."""

    all: float
    ordinary: float

    def takes(self, item: _Item) -> bool:
        return item.bytes <= self.all and (not item.ordinary or item.bytes <= self.ordinary)

    def less(self, item: _Item) -> _Room:
        return _Room(self.all - item.bytes, self.ordinary - item.bytes * item.ordinary)

    def more(self, residents: Sequence[Held]) -> _Room:
        """When all of these are gone."""
        return _Room(
            self.all + sum(each.bytes for each in residents),
            self.ordinary + sum(each.bytes for each in residents if _ordinary(each)),
        )


def admit(
    held: Sequence[Held], incoming: Incoming, rules: Rules, now: float, unlisted: int = 0, look_ahead: int = 0
) -> Admission:
    """Whether a version that is not resident is cached, and what goes for it.

    `unlisted` bytes are taken by what cannot be moved and is not in `held`; their class is not known, so they count as
    ordinary. `look_ahead` requests are known: what has no `next_use` comes later than those.
    """
    if incoming.bytes > rules.allowance(incoming.priority):
        return _refused(Reason.TOO_LARGE)
    newcomer = _Item(
        incoming.key, incoming.bytes, _ordinary(incoming), _saves(incoming, look_ahead), float("inf")
    )
    free = _free(held, incoming, rules, unlisted)
    if free.takes(newcomer):
        return Admission(True, (), Reason.FITS)
    movable = list(held)
    for reason, stays in _obstacles(incoming, rules, now):
        movable = [each for each in movable if not stays(each)]
        if not free.more(movable).takes(newcomer):
            return _refused(reason)
    return _choice(movable, newcomer, free.more(movable), look_ahead, forced=incoming.pinned)


def fits(held: Sequence[Held], incoming: Incoming, rules: Rules, unlisted: int = 0) -> bool:
    """Whether a version that is not resident is cached with nothing going for it."""
    newcomer = _Item(incoming.key, incoming.bytes, _ordinary(incoming), 0.0, 0.0)
    return _free(held, incoming, rules, unlisted).takes(newcomer)


def _free(held: Sequence[Held], incoming: Incoming, rules: Rules, unlisted: int) -> _Room:
    """Free bytes now. The reserve binds an ordinary newcomer only: for others no resident has to leave it."""
    total = rules.budget - unlisted - sum(each.bytes for each in held)
    if not _ordinary(incoming):
        return _Room(total, float("inf"))
    ordinary = sum(each.bytes for each in held if _ordinary(each))
    return _Room(total, rules.allowance(incoming.priority) - unlisted - ordinary)


def _obstacles(
    incoming: Incoming, rules: Rules, now: float
) -> tuple[tuple[Reason, Callable[[Held], bool]], ...]:
    """What is never moved for the newcomer, in the order in which it is told."""
    return (
        (Reason.ALL_LEASED, lambda each: each.leased or each.pinned),
        (Reason.PROTECTED, lambda each: _is_recent(each.loaded_at, now, rules.protection)),
        (
            Reason.OUTRANKED,
            lambda each: (
                each.priority > incoming.priority
                and (each.next_use is not None or _is_recent(each.used_at, now, rules.in_use))
            ),
        ),
    )


def _is_recent(then: float, now: float, seconds: float) -> bool:
    """Not of a time that is still to come, which a clock that was set back since has noted."""
    return abs(now - then) < seconds


def _choice(
    movable: Sequence[Held], newcomer: _Item, room: _Room, look_ahead: int, *, forced: bool
) -> Admission:
    items = [
        _Item(each.key, each.bytes, _ordinary(each), _saves(each, look_ahead), each.used_at)
        for each in movable
    ]
    kept = {newcomer.key} | _best(items, room.less(newcomer)) if forced else _best([*items, newcomer], room)
    if newcomer.key not in kept:
        return _refused(Reason.DEARER_RESIDENTS)
    victims = sorted((item for item in items if item.key not in kept), key=lambda item: item.rank)
    return Admission(True, tuple(item.key for item in victims), Reason.EVICTS)


def _saves(version: Held | Incoming, look_ahead: int) -> float:
    """Seconds a request that keeping it saves: exact where its next use is known, else by demand.

    Belady's distance with costs; 1 ÷ demand is the mean wait where requests are drawn independently.
    """
    weight = _CLASS_FACTOR**version.priority
    if version.next_use is not None:
        return weight * version.cost / max(1, version.next_use)
    if version.demand <= 0:
        return 0.0
    return weight * version.cost / (look_ahead + 1 / version.demand)


def _best(items: Sequence[_Item], room: _Room) -> set[str]:
    """Keys of the set that saves most; nothing else would fit beside it.

    Branch and bound by density (Horowitz & Sahni 1974) that starts from the greedy set; the best so far when the steps
    run out, as with hundreds of models. A set is a mask over the order.
    """
    order = sorted(items, key=lambda item: item.rank, reverse=True)
    bound = _Bound(order)
    best = _filled(order, room, 0)
    most = sum(item.saves for place, item in enumerate(order) if best >> place & 1)
    stack = [(0, room, 0.0, 0)]
    for _ in range(_SEARCH_STEPS):
        if not stack:
            break
        place, left, saved, chosen = stack.pop()
        if saved + bound.rest(place, left.all) <= most * (1 + 1e-9):
            continue
        item = order[place]
        stack.append((place + 1, left, saved, chosen))
        if left.takes(item):
            saved, chosen = saved + item.saves, chosen | 1 << place
            stack.append((place + 1, left.less(item), saved, chosen))
            if saved > most:
                best, most = chosen, saved
    best = _filled(order, room, best)
    return {item.key for place, item in enumerate(order) if best >> place & 1}


class _Bound:
    """What the rest of an order of falling density could save if the last one that fits could be cut."""

    def __init__(self, order: Sequence[_Item]) -> None:
        self._order = order
        self._bytes = list(accumulate((item.bytes for item in order), initial=0))
        self._saves = list(accumulate((item.saves for item in order), initial=0.0))

    def rest(self, place: int, left: float) -> float:
        end = self._bytes[place] + left
        whole = bisect_right(self._bytes, end) - 1
        saves = self._saves[whole] - self._saves[place]
        if whole == len(self._order):
            return saves
        cut = self._order[whole]
        return saves + cut.saves * (end - self._bytes[whole]) / cut.bytes


def _filled(order: Sequence[_Item], room: _Room, chosen: int) -> int:
    """The chosen, and whatever else fits in this order."""
    for place, item in enumerate(order):
        if chosen >> place & 1:
            room = room.less(item)
    for place, item in enumerate(order):
        if not chosen >> place & 1 and room.takes(item):
            room = room.less(item)
            chosen |= 1 << place
    return chosen


def _ordinary(version: Held | Incoming) -> bool:
    return version.priority < ModelPriority.HIGH


def _refused(reason: Reason) -> Admission:
    return Admission(False, (), reason)
