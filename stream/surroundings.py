"""What a worker stands on: clients, threads, and the end of its process. A simulation puts its own in place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, Producer

from stream.loops import MakeLoop, StepLoop
from stream.occupancy import Occupancy, SeesOccupancy
from stream.topic_identity import Ask
from stream.topics import identity_of
from stream.watchdog import end_process
from stream.worker import Moved


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`watched`: clients may lose their cluster for good, as real ones do."""

    consumer: Callable[[dict[str, Any]], Any] = Consumer
    producer: Callable[[dict[str, Any]], Any] = Producer
    make_loop: MakeLoop = StepLoop
    moved: Callable[[], Moved] = threading.Event
    end: Callable[[str], None] = end_process
    occupancy: Callable[[str], SeesOccupancy] = Occupancy
    identity: Callable[[Mapping[str, Any], str], Ask] = identity_of
    watched: bool = True
