"""What can go wrong, and where: every request of a simulated client passes one of these steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from confluent_kafka import KafkaError

T = TypeVar("T")

# A client asks again until it is answered otherwise.
_ASKED_AGAIN = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.CONCURRENT_TRANSACTIONS,
}


class Step(Enum):
    """The requests that clients make of a broker."""

    FETCH = "fetch"
    JOIN = "join"
    HEARTBEAT = "heartbeat"
    LEAVE = "leave"
    COMMIT = "commit"
    COMMITTED = "committed"
    WATERMARKS = "watermarks"
    METADATA = "metadata"
    PRODUCE = "produce"
    INIT_PRODUCER = "init producer"
    ADD_PARTITIONS = "add partitions"
    TXN_OFFSETS = "transaction offsets"
    END_TXN = "end transaction"


class Effect(Enum):
    """What becomes of a request."""

    REFUSED = "refused"
    REQUEST_LOST = "request lost"
    ANSWER_LOST = "answer lost"
    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"


@dataclass(frozen=True, slots=True)
class Fault:
    """`code`: the broker's error where it refuses."""

    effect: Effect
    code: int = 0


class ProcessDied(BaseException):
    """The process that made this call is no more. No handler of the program under test may survive it."""


class UnansweredError(Exception):
    """Nobody answered; whether the request was carried out is unknown."""


class RefusedError(Exception):
    """The broker answered with an error."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Faults:
    """None. A schedule of faults overrides what it wants to disturb."""

    def at(self, step: Step, process: str) -> Fault | None:
        """What becomes of the request that `process` makes now."""

    def dawdles(self, process: str) -> bool:
        """Whether the client's own thread does not get to run this time."""
        return False

    def latency(self, step: Step) -> float:
        """Seconds until the answer is there."""
        return 0.0


class PlannedFaults(Faults):
    """Faults in the order in which each step is to meet them; afterwards none."""

    def __init__(self) -> None:
        self._plans: dict[Step, deque[Fault]] = {}

    def plan(self, step: Step, effect: Effect, code: int = 0) -> None:
        self._plans.setdefault(step, deque()).append(Fault(effect, code))

    def at(self, step: Step, process: str) -> Fault | None:
        plan = self._plans.get(step)
        return plan.popleft() if plan else None


def carry_out(fault: Fault | None, request: Callable[[], T], die: Callable[[], None]) -> T:
    """The answer to a request that meets a fault. Raises RefusedError, UnansweredError, ProcessDied."""
    if fault is None:
        return request()
    if fault.effect is Effect.REFUSED:
        raise UnansweredError if fault.code in _ASKED_AGAIN else RefusedError(fault.code)
    if fault.effect is Effect.REQUEST_LOST:
        raise UnansweredError
    if fault.effect is not Effect.DIES_BEFORE:
        request()
    if fault.effect is Effect.ANSWER_LOST:
        raise UnansweredError
    die()
    raise ProcessDied
