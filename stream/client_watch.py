"""Notices a client that has forgotten its cluster for good, which only a new client cures.

A broker that shuts down may answer that the cluster has no brokers. librdkafka then forgets the last one it knew and
never asks anybody again (its issue 5301, 2.10 to 2.16 at least). It reports nothing: results wait in its queue, or no
more claims come. So each client is asked for metadata now and then; where it cannot answer for a while although a new
client can, the worker ends, and its successor has new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from stream.clock import Clock
from stream.errors import FatalError

_EVERY = 5.0
_ANSWER_SECONDS = 1.0
_LEAST_PATIENCE = 15.0


class Asked(Protocol):
    """A consumer or a producer of the client library."""

    def list_topics(self, topic: str, timeout: float) -> Any: ...


def reaches_cluster(client: Asked, topic: str) -> bool:
    """Whether a client knows a broker that it can ask for metadata; waits a second at most.

    An answer that comes later, such as behind that to a long fetch, is none the less on its way.
    """
    try:
        client.list_topics(topic, _ANSWER_SECONDS)
    except KafkaException as error:
        return bool(error.args[0].code() != KafkaError._TRANSPORT)  # noqa: SLF001 - the client's only name for it
    return True


def cluster_answers(new_client: Callable[[], Any], topic: str) -> bool:
    """Whether a new client is answered."""
    try:
        client = new_client()
    except KafkaException:
        return False
    try:
        client.list_topics(topic, _ANSWER_SECONDS)
    except KafkaException:
        return False
    finally:
        client.close()
    return True


def patience_for(options: Mapping[str, Any]) -> float:
    """Seconds for which a client of these may be lost: more than it ever waits between two tries to connect."""
    return max(1.5 * float(options.get("reconnect.backoff.max.ms", 10_000)) / 1_000, _LEAST_PATIENCE)


class ClientWatch:
    """`reach`: whether clients, by what they are for, reach their cluster; `answers`: whether a new one does.

    `patience`: seconds for which both may be otherwise.
    """

    def __init__(
        self,
        reach: Mapping[str, Callable[[], bool]],
        answers: Callable[[], bool],
        patience: float,
        clock: Clock,
    ) -> None:
        self._reach = reach
        self._answers = answers
        self._patience = patience
        self._clock = clock
        self._left = list(reach)
        self._lost: list[str] = []
        self._lost_since: dict[str, float] = {}

    def step(self, now: float) -> float:
        """Ask the next of them, and a new one in the end; when to be called next. Raises FatalError.

        Whoever waits for the end of a step waits for one answer at most.
        """
        if self._left:
            name = self._left.pop(0)
            if not self._reach[name]():
                self._lost.append(name)
            if self._left or self._lost:
                return now
        lost, self._left, self._lost = self._lost, list(self._reach), []
        if not lost or not self._answers():
            self._lost_since = {}
            return self._clock.now() + _EVERY
        self._lost_since = {name: self._lost_since.get(name, now) for name in lost}
        for name, since in self._lost_since.items():
            if now - since >= self._patience:
                raise FatalError(
                    f"the {name} has lost its cluster, which answers others: for {now - since:.0f} s it could not ask "
                    "for metadata; a new worker begins with new clients"
                )
        return self._clock.now() + _EVERY
