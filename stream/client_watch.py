"""Notices a client that has forgotten its cluster for good, which only a new client cures.

A broker that shuts down may answer that the cluster has no brokers. librdkafka then forgets the last one it knew and
never asks anybody again (its issue 5301, 2.10 to 2.16 at least). It reports nothing: results wait in its queue, or no
more claims come. So each client is asked for metadata now and then; where it cannot answer for a while although a new
client can, the worker ends, and its successor has new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaException

from stream.clock import Clock
from stream.errors import FatalError

_EVERY = 5.0
_ANSWER_SECONDS = 1.0
# Longer than a client waits between two tries to connect (`reconnect.backoff.max.ms`, 10 s).
_PATIENCE = 15.0


class Asked(Protocol):
    """A consumer or a producer of the client library."""

    def list_topics(self, topic: str, timeout: float) -> Any: ...


def reaches_cluster(client: Asked, topic: str) -> bool:
    """Whether a client can ask its cluster for metadata; waits a second at most."""
    try:
        client.list_topics(topic, _ANSWER_SECONDS)
    except KafkaException:
        return False
    return True


def cluster_answers(new_client: Callable[[], Any], topic: str) -> bool:
    """Whether a new client can."""
    client = new_client()
    try:
        return reaches_cluster(client, topic)
    finally:
        client.close()


class ClientWatch:
    """`reach`: whether clients, by what they are for, reach their cluster; `answers`: whether a new one does."""

    def __init__(
        self, reach: Mapping[str, Callable[[], bool]], answers: Callable[[], bool], clock: Clock
    ) -> None:
        self._reach = reach
        self._answers = answers
        self._clock = clock
        self._lost_since: dict[str, float] = {}

    def step(self, now: float) -> float:
        """Ask them all, waiting for their answers; when to be called next. Raises FatalError."""
        lost = [name for name, reaches in self._reach.items() if not reaches()]
        if not lost or not self._answers():
            self._lost_since = {}
            return self._clock.now() + _EVERY
        self._lost_since = {name: self._lost_since.get(name, now) for name in lost}
        for name, since in self._lost_since.items():
            if now - since >= _PATIENCE:
                raise FatalError(
                    f"the {name} has lost its cluster, which answers others: for {now - since:.0f} s it could not ask "
                    "for metadata; a new worker begins with new clients"
                )
        return self._clock.now() + _EVERY
