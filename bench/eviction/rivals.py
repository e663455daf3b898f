"""The rules that caches use today, in bytes: each says whether a request is a hit, and keeps or drops models."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from bench.eviction.traces import Model


class Rule(Protocol):
    """A cache as the replay sees it."""

    def request(self, key: str) -> bool:
        """Whether it is here; if not it is loaded, and may stay."""


class Lru:
    """Least recently used goes first."""

    def __init__(self, models: Mapping[str, Model], budget: int) -> None:
        self._models = models
        self._free = budget
        self._order: OrderedDict[str, int] = OrderedDict()

    def request(self, key: str) -> bool:
        if key in self._order:
            self._order.move_to_end(key)
            return True
        size = self._models[key].bytes
        while self._free < size:
            self._free += self._order.popitem(last=False)[1]
        self._order[key] = size
        self._free -= size
        return False


class GreedyDual:
    """GreedyDual-Size-Frequency (Cherkasova 1998): the priority is clock + uses · worth; the clock ages it.

    `weigh` says what one use is worth; 1 without a clock is LFU with the counts of its residents. One that `refuses`
    does not keep a newcomer below a victim of its own; it remembers the uses of what is gone, or none would come in.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        budget: int,
        weigh: Callable[[Model], float],
        *,
        ages: bool,
        refuses: bool,
    ) -> None:
        self._models = models
        self._free = budget
        self._weigh = weigh
        self._ages = ages
        self._refuses = refuses
        self._clock = 0.0
        self._uses: Counter[str] = Counter()
        # Equals go in the order of their last use.
        self._priority: dict[str, tuple[float, int]] = {}
        self._requests = 0

    def request(self, key: str) -> bool:
        self._requests += 1
        self._uses[key] += 1
        hit = key in self._priority
        if hit or self._admit(key):
            self._priority[key] = (self._worth(key), self._requests)
        return hit

    def _worth(self, key: str) -> float:
        return self._clock + self._uses[key] * self._weigh(self._models[key])

    def _admit(self, key: str) -> bool:
        victims = self._victims(self._models[key].bytes)
        dearest = max((self._priority[victim][0] for victim in victims), default=0.0)
        if self._refuses and dearest > self._worth(key):
            return False
        for victim in victims:
            del self._priority[victim]
            self._free += self._models[victim].bytes
            if not self._refuses:
                del self._uses[victim]
        if self._ages:
            self._clock = max(self._clock, dearest)
        self._free -= self._models[key].bytes
        return True

    def _victims(self, size: int) -> list[str]:
        """Of least priority, until so many bytes are free."""
        victims: list[str] = []
        free = self._free
        for key in sorted(self._priority, key=self._priority.__getitem__):
            if free >= size:
                break
            victims.append(key)
            free += self._models[key].bytes
        return victims


def lfu(models: Mapping[str, Model], budget: int, *, refuses: bool = False) -> GreedyDual:
    """Least frequently used since it came, then least recently, goes first."""
    return GreedyDual(models, budget, lambda _: 1.0, ages=False, refuses=refuses)


def gdsf(models: Mapping[str, Model], budget: int, *, refuses: bool = False) -> GreedyDual:
    """GDSF with the reload's seconds as cost."""
    return GreedyDual(models, budget, lambda model: model.cost / model.bytes, ages=True, refuses=refuses)


class S3Fifo:
    """S3-FIFO (Yang et al., SOSP 2023): a small queue of a tenth of the bytes, a main queue, a ghost queue.

    A model may be larger than the small queue; then it is alone there until it is asked for twice or pushed out.
    """

    def __init__(self, models: Mapping[str, Model], budget: int) -> None:
        self._models = models
        self._budget = budget
        self._small: deque[str] = deque()
        self._main: deque[str] = deque()
        self._ghost: deque[str] = deque()
        self._uses: dict[str, int] = {}

    def request(self, key: str) -> bool:
        if key in self._uses:
            self._uses[key] = min(3, self._uses[key] + 1)
            return True
        queue = self._main if key in self._ghost else self._small
        if queue is self._main:
            self._ghost.remove(key)
        while self._bytes(self._small) + self._bytes(self._main) + self._models[key].bytes > self._budget:
            self._evict()
        queue.append(key)
        self._uses[key] = 0
        return False

    def _evict(self) -> None:
        if self._small and (not self._main or self._bytes(self._small) >= self._budget / 10):
            self._evict_small()
        else:
            self._evict_main()

    def _evict_small(self) -> None:
        key = self._small.popleft()
        if self._uses[key] > 1:
            self._main.append(key)
            self._uses[key] = 0
            return
        del self._uses[key]
        self._ghost.append(key)
        while self._bytes(self._ghost) > self._budget * 9 / 10:
            self._ghost.popleft()

    def _evict_main(self) -> None:
        key = self._main.popleft()
        if self._uses[key] == 0:
            del self._uses[key]
            return
        self._uses[key] -= 1
        self._main.append(key)

    def _bytes(self, queue: deque[str]) -> int:
        return sum(self._models[key].bytes for key in queue)


RULES: dict[str, Callable[[Mapping[str, Model], int], Rule]] = {
    "LRU": Lru,
    "LFU": lfu,
    "GDSF": gdsf,
    "S3-FIFO": S3Fifo,
}
# Not as published: with the right to serve a newcomer without keeping it, as the policy and the bound have it.
REFUSING: dict[str, Callable[[Mapping[str, Model], int], Rule]] = {
    "LFU that refuses": partial(lfu, refuses=True),
    "GDSF that refuses": partial(gdsf, refuses=True),
}
