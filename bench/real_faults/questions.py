"""Questions to a cluster that a strike has just disturbed: asked again, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

from bench.real_faults.stage import NeverError

T = TypeVar("T")

_SECONDS, _ANSWER, _PAUSE = 30.0, 5.0, 0.25
# What the cluster says, or its client, until it has found itself again.
_PASSING = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_CONTROLLER,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError._TIMED_OUT,  # noqa: SLF001 - these are the public names of librdkafka's local errors
    KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._WAIT_COORD,  # noqa: SLF001
}


def patiently(
    ask: Callable[[float], T | None],
    what: str,
    seconds: float = _SECONDS,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> T:
    """The answer. `ask` is told how many seconds it may take, and gives None where there is no answer yet.

    Raises NeverError after so many seconds in all, and KafkaException at once for an error that does not pass.
    """
    deadline, last = now() + seconds, "no answer"
    while (left := deadline - now()) > 0.0:
        try:
            if (answer := ask(min(_ANSWER, left))) is not None:
                return answer
        except TimeoutError:
            last = "the client does not come back"
        except KafkaException as error:
            if error.args[0].code() not in _PASSING:
                raise
            last = error.args[0].str()
        pause(min(_PAUSE, left))
    raise NeverError(f"asked for {seconds:.0f} s in vain {what}: {last}")
