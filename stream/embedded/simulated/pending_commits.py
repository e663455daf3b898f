"""Commits that an application asked for and did not wait for, until they are answered or given up."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from confluent_kafka import KafkaError

from stream.embedded.simulated.faults import UnansweredError
from stream.embedded.simulated.groups import Offsets

UNSENT = "Commit failed: Local: Waiting for coordinator"


@dataclass(slots=True)
class _Commit:
    offsets: Offsets
    given_up: float = math.inf


class PendingCommits:
    """In the order in which they were asked for."""

    def __init__(self) -> None:
        self._pending: deque[_Commit] = deque()

    def add(self, offsets: Offsets) -> None:
        self._pending.append(_Commit(offsets))

    @property
    def untried(self) -> bool:
        """Whether the next one was not sent yet."""
        return bool(self._pending) and self._pending[0].given_up == math.inf

    def send(
        self, send: Callable[[Offsets], KafkaError | None], now: float, kept: float
    ) -> Iterator[tuple[Offsets, KafkaError | None]]:
        """Those that are over, with their errors. One that finds no coordinator waits with all behind it.

        For `kept` seconds, then it is given up.
        """
        while self._pending:
            try:
                error = send(self._pending[0].offsets)
            except UnansweredError:
                for each in self._pending:
                    each.given_up = min(each.given_up, now + kept)
                if now < self._pending[0].given_up:
                    return
                error = KafkaError(KafkaError._WAIT_COORD, UNSENT)
            yield self._pending.popleft().offsets, error
