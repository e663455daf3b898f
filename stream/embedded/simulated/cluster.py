"""A Kafka that is one object: topics, coordinators, and the processes whose clients talk to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaError

from stream.clock import ManualClock
from stream.embedded.simulated.consumer import SimulatedConsumer
from stream.embedded.simulated.faults import (
    Faults,
    ProcessDied,
    RefusedError,
    Step,
    UnansweredError,
    carry_out,
)
from stream.embedded.simulated.groups import ClassicGroup, Group
from stream.embedded.simulated.led_groups import AS_A_BROKER_HAS_IT, LedGroup, Rhythm
from stream.embedded.simulated.log import PartitionLog
from stream.embedded.simulated.message import Headers, Message, Record, failure
from stream.embedded.simulated.producer import SimulatedProducer
from stream.embedded.simulated.readings import Reading
from stream.embedded.simulated.transactions import Transactions

T = TypeVar("T")
G = TypeVar("G", bound=Group)

LARGEST_RECORD = 1_048_588
_NAP = 0.02


class SimulatedKafka:
    """Nothing sleeps, and no thread runs: time is what `clock` says, and client threads run within calls.

    Where a real client would block, `waiting(seconds)` is called until the answer is there or the time-out is over;
    without one the clock is moved on.
    """

    def __init__(
        self,
        clock: ManualClock,
        faults: Faults | None = None,
        waiting: Callable[[float], None] | None = None,
        led: Rhythm = AS_A_BROKER_HAS_IT,
    ) -> None:
        """`led`: what it prescribes to members that join by KIP-848."""
        self.clock = clock
        self.rhythm = led
        self.faults = faults or Faults()
        self.away = False
        self.readings: list[Reading] = []
        self._waiting = waiting or clock.advance
        self._settled = clock.now()
        self._topics: dict[str, list[PartitionLog]] = {}
        self._limits: dict[str, int] = {}
        self._made = 0
        self._identities: dict[str, str] = {}
        self._groups: dict[str, Group] = {}
        self._processes: list[SimulatedProcess] = []
        self._producers = itertools.count(1)
        self.transactions = Transactions(lambda place: self.log(*place), self.stamp)

    def create_topic(self, name: str, partitions: int, *, largest: int = LARGEST_RECORD) -> None:
        """`largest`: bytes of key and value that a record may have."""
        self._limits[name] = largest
        self._topics[name] = [PartitionLog(largest) for _ in range(partitions)]
        self._made += 1
        self._identities[name] = str(self._made)
        self._refresh()

    def delete_topic(self, name: str) -> None:
        """Its records go, and what groups committed or are about to commit of it."""
        del self._topics[name], self._limits[name], self._identities[name]
        self.transactions.forget(name)
        for group in self._groups.values():
            group.forget(name)
        self._refresh()

    def identity(self, name: str) -> str | None:
        """What tells a topic from others of its name; None where there is none."""
        return self._identities.get(name)

    def add_partitions(self, name: str, partitions: int) -> None:
        """More partitions; groups that read the topic assign them at once."""
        logs = self._topics[name]
        logs += [PartitionLog(self._limits[name]) for _ in range(partitions - len(logs))]
        self._refresh()

    def partitions(self, name: str) -> int:
        """How many a topic has, 0 where there is none of this name."""
        return len(self._topics.get(name, ()))

    def log(self, topic: str, partition: int) -> PartitionLog:
        """Raises RefusedError for a partition that does not exist."""
        logs = self._topics.get(topic, ())
        if not 0 <= partition < len(logs):
            raise RefusedError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        return logs[partition]

    def write(
        self,
        topic: str,
        partition: int,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers | None = None,
    ) -> int:
        """Append a record past all clients; its offset."""
        return self.log(topic, partition).append(Record(-1, key, value, headers, self.stamp()), None)

    def messages(self, topic: str, *, committed: bool = True) -> list[Message]:
        """All that a reader from the beginning would get now, partition by partition."""
        return [
            Message(topic, partition, record)
            for partition, log in enumerate(self._topics[topic])
            for _, record in log.read(0, log.end, committed=committed)
            if record is not None
        ]

    def _refresh(self) -> None:
        for group in self._groups.values():
            group.refresh(self.clock.now())

    def group(self, name: str) -> Group:
        """The group of this name."""
        return self._groups[name] if name in self._groups else self.classic(name)

    def classic(self, name: str) -> ClassicGroup:
        """The same for members that join by the classic protocol. Raises RefusedError."""
        return self._of_kind(name, ClassicGroup)

    def led(self, name: str) -> LedGroup:
        """The same for members that join by KIP-848. Raises RefusedError."""
        return self._of_kind(name, LedGroup)

    def _of_kind(self, name: str, kind: type[G]) -> G:
        """A group without members changes its protocol."""
        found = self._groups.get(name)
        if isinstance(found, kind):
            return found
        if found is not None and not found.empty:
            raise RefusedError(KafkaError.INCONSISTENT_GROUP_PROTOCOL)
        self._groups[name] = made = kind(name, self.partitions, found)
        return made

    def process(self, name: str) -> SimulatedProcess:
        """A process in which clients can live."""
        self._processes.append(SimulatedProcess(name, self))
        return self._processes[-1]

    def new_producer(self) -> int:
        """A producer number that nobody has."""
        return next(self._producers)

    def stamp(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.clock.wall() * 1_000)

    def settle(self) -> None:
        """Do what is due by the clock: heartbeats of living processes, sessions, time-outs of transactions."""
        now = self.clock.now()
        if now == self._settled:
            return
        self._settled = now
        for process in self._processes:
            if process.heard:
                process.beat(now)
        for group in self._groups.values():
            group.expire(now)
        self.transactions.expire(now)

    def pass_time(self, seconds: float) -> None:
        """What goes on while a call blocks."""
        self._waiting(seconds)


class SimulatedProcess:
    """A process: its clients die with it, stand still with it, and are cut off with it.

    `struck`: whether it ever stood still, or a request of it met a fault or nobody.
    """

    def __init__(self, name: str, cluster: SimulatedKafka) -> None:
        self.name = name
        self.cluster = cluster
        self.alive = True
        self.frozen = False
        self.cut_off = False
        self.struck = False
        self._consumers: list[SimulatedConsumer] = []
        self._producers: list[SimulatedProducer] = []

    def consumer(self, options: dict[str, Any]) -> SimulatedConsumer:
        """In place of confluent_kafka.Consumer."""
        self._consumers.append(SimulatedConsumer(options, self))
        return self._consumers[-1]

    def producer(self, options: dict[str, Any]) -> SimulatedProducer:
        """In place of confluent_kafka.Producer."""
        self._producers.append(SimulatedProducer(options, self))
        return self._producers[-1]

    def identity(self, topic: str, seconds: float) -> str | None:
        """As `stream.topics.identity_of` asks for it."""
        answers: list[str | None] = []

        def answered() -> bool:
            try:
                answers.append(self.ask(Step.METADATA, lambda: self.cluster.identity(topic)))
            except UnansweredError:
                return False
            return True

        if not self.wait(answered, seconds):
            raise failure(KafkaError._TIMED_OUT, "Local: Timed out")
        return answers[0]

    @property
    def heard(self) -> bool:
        """Whether its heartbeats arrive."""
        return self.alive and not self.frozen and self.reachable

    @property
    def reachable(self) -> bool:
        """Whether a broker answers it."""
        return not (self.cut_off or self.cluster.away)

    def kill(self) -> None:
        """As with kill -9: nothing is said to anybody."""
        self.alive = False

    def freeze(self) -> None:
        """As with SIGSTOP."""
        self.frozen = self.struck = True

    def thaw(self) -> None:
        self.frozen = False

    def beat(self, now: float) -> None:
        for consumer in self._consumers:
            consumer.beat(now)

    def background(self) -> None:
        """What the clients' own threads would do now."""
        if self.alive and not self.frozen:
            for consumer in self._consumers:
                consumer.background()
            for producer in self._producers:
                producer.background()

    def check(self) -> None:
        """Raises ProcessDied."""
        if not self.alive:
            raise ProcessDied

    def dawdles(self) -> bool:
        return self.cluster.faults.dawdles(self.name)

    def latency(self, step: Step) -> float:
        return self.cluster.faults.latency(step)

    def ask(self, step: Step, request: Callable[[], T]) -> T:
        """Make a request of the broker. Raises RefusedError, UnansweredError, ProcessDied."""
        self.check()
        if not self.reachable:
            self.struck = True
            raise UnansweredError
        self.cluster.settle()
        fault = self.cluster.faults.at(step, self.name)
        self.struck |= fault is not None
        return carry_out(fault, request, self.kill)

    def give_way(self) -> None:
        """Whatever else goes on may come first. Raises ProcessDied."""
        self.cluster.pass_time(0.0)
        self.check()

    def wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Block until something is done, or for so many seconds at most; whether it is. Raises ProcessDied."""
        deadline = self.cluster.clock.now() + seconds
        self.give_way()
        while True:
            while self.frozen and self.alive:
                self.cluster.pass_time(_NAP)
            self.check()
            if done():
                return True
            left = deadline - self.cluster.clock.now()
            if left <= 0.0:
                return False
            self.cluster.pass_time(min(_NAP, left))
