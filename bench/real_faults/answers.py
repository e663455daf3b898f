"""Results and dead letters as they are committed, of all partitions, by a client that may be replaced."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from stream.audit import Topics

# A client that nobody has told anything for so long may have lost its cluster for good (`stream/client_watch.py`).
LOST = 20.0
_LOOK, _WAIT = 2.0, 0.02
_MOST = 500


class Answers:
    """Begins with the first; partitions that are added are noticed."""

    def __init__(self, client: Mapping[str, Any], topics: Topics) -> None:
        self._client = dict(client)
        self._topics = (topics.scores, topics.dead_letters)
        self._consumer = self._new_consumer()
        self._places: list[TopicPartition] = []
        self._told = self._next_look = time.monotonic()

    def read(self) -> list[Message]:
        """The next ones, possibly none; waits for a moment."""
        if (now := time.monotonic()) >= self._next_look:
            self._next_look = now + _LOOK
            self._look(now)
        return [each for each in self._consumer.consume(_MOST, _WAIT) if each.error() is None]

    def close(self) -> None:
        self._consumer.close()

    def _look(self, now: float) -> None:
        known = {(place.topic, place.partition) for place in self._places}
        try:
            fresh = [
                TopicPartition(topic, number, OFFSET_BEGINNING)
                for topic in self._topics
                for number in self._consumer.list_topics(topic, timeout=1.0).topics[topic].partitions
                if (topic, number) not in known
            ]
        except KafkaException:
            if now - self._told > LOST:
                self._told = now
                self._renew()
            return
        self._told = now
        self._places += fresh
        self._consumer.incremental_assign(fresh)

    def _renew(self) -> None:
        standing = self._consumer.position(self._places)
        self._consumer.close()
        for place in standing:
            place.offset = place.offset if place.offset >= 0 else OFFSET_BEGINNING
        self._consumer = self._new_consumer()
        self._consumer.incremental_assign(standing)

    def _new_consumer(self) -> Consumer:
        return Consumer(
            {
                **self._client,
                "group.id": "faults-watch",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
