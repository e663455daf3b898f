"""Calls of a client that wait for the broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaException

from stream.clock import Clock
from stream.transaction_policy import Meaning, meaning
from stream.watchdog import Watchdog

T = TypeVar("T")

_SECONDS = 10.0
_GRACE = 5.0
_ATTEMPTS = 5


class ClientCalls:
    """Watched, because one may outlive its time-out; made again where the client says that they may be."""

    def __init__(self, watchdog: Watchdog, clock: Clock) -> None:
        self._watchdog = watchdog
        self._clock = clock

    def once(self, name: str, function: Callable[[float], T], seconds: float = _SECONDS) -> T:
        """`function` is called with its time-out."""
        with self._watchdog.watching(name, seconds + _GRACE):
            return function(seconds)

    def patiently(self, name: str, function: Callable[[float], T], seconds: float = _SECONDS) -> T:
        """Up to five times while the client calls its error retriable, within `seconds`. Raises KafkaException."""
        deadline = self._clock.now() + seconds
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self.once(name, function, max(deadline - self._clock.now(), 0.1))
            except KafkaException as error:
                over = attempt == _ATTEMPTS or self._clock.now() >= deadline
                if over or meaning(error.args[0]) is not Meaning.AGAIN:
                    raise
        raise AssertionError("unreachable")
