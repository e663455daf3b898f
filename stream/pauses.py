"""Which partitions the client does not read, for whatever reason; it is told of changes alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from confluent_kafka import Consumer, TopicPartition

_NONE: frozenset[int] = frozenset()


class Pauses:
    """The reasons: `everything`, partitions that are `held`, and those that give way. `apply` makes them true.

    Never applied inside a rebalance callback: the client assigns partitions when that returns.
    """

    def __init__(self, client: Consumer, topic: str) -> None:
        self._client = client
        self._topic = topic
        self._paused: set[int] = set()
        self.everything = False
        self.yielding = _NONE

    def apply(self, owned: Collection[int], held: Iterable[int]) -> None:
        """Pause and resume what has changed since the last time."""
        wanted = set(owned) if self.everything else {*held, *self.yielding}.intersection(owned)
        if pausing := wanted - self._paused:
            self._client.pause(self._named(pausing))
        if resuming := self._paused - wanted:
            self._client.resume(self._named(resuming))
        self._paused = wanted

    def gone(self, partitions: Collection[int]) -> None:
        """The client keeps the pause of a partition that goes, and reads nothing from it when it comes again."""
        if paused := self._paused.intersection(partitions):
            self._client.resume(self._named(paused))
            self._paused -= paused

    def _named(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in sorted(partitions)]
