"""A place in the instance: a worker process of the stage, started again when it ends, as the supervisor would."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaException

from bench.faults.driver import Blocking, DrivenLoop, Driver, loop_maker
from bench.faults.models import ScriptedSupply, Versions
from config import Settings
from stream.app import build_rooms, build_worker
from stream.embedded.simulated import ProcessDied, SimulatedConsumer, SimulatedKafka, SimulatedProcess
from stream.errors import ClaimstreamError, FatalError
from stream.loader import Loader
from stream.occupancy import Unoccupied
from stream.options import TopicShape
from stream.process import LEAVE_SECONDS
from stream.surroundings import Surroundings
from stream.worker import Worker

_LOOK = 0.1
# A forward that takes much longer hangs: the supervisor would end its worker.
_LONGEST = 30.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What the workers of a schedule have in common. `speeds`: seconds of a model's smallest forward."""

    driver: Driver
    kafka: SimulatedKafka
    settings: Settings
    versions: Versions
    speeds: Mapping[str, float]
    draw: random.Random

    def shape(self) -> TopicShape:
        """The topics as they are now."""
        topics = self.settings.kafka.topics
        return TopicShape(self.kafka.partitions(topics.input), self.kafka.partitions(topics.output))


@dataclass(frozen=True, slots=True)
class End:
    """A life that an error ended: of which process, from when until when on the monotonic clock."""

    process: str
    began: float
    ended: float
    error: BaseException

    @property
    def foreseen(self) -> bool:
        """Whether the stage itself ends its worker so."""
        return isinstance(self.error, ClaimstreamError | KafkaException)


class Place:
    """`pace`: what the time of a forward is multiplied with now. `lives`: how many it had; `ends` of some of them."""

    def __init__(self, number: int, stage: Stage) -> None:
        self.number = number
        self.lives = 0
        self.ends: list[End] = []
        self.pace = 1.0
        self.running = False
        self.process: SimulatedProcess | None = None
        self._stage = stage
        self._driver = stage.driver
        self._worker: Worker | None = None
        self._began = 0.0
        self._to_leave = False
        self._to_return = False

    def start(self) -> None:
        """Begin a life, unless there is one."""
        if self.running:
            return
        self.lives += 1
        self._began = self._driver.clock.now()
        self.running, self._to_leave = True, False
        self.process = self._stage.kafka.process(f"worker {self.number}, life {self.lives}")
        self._driver.admit(self.process)
        try:
            self._worker = self._build(self.process)
            self._worker.start()
        except ProcessDied:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the process ends with it
            self._note(self.process, error)
            self.process.kill()
        self._driver.at(self._driver.clock.now() + _LOOK, self._look)

    @property
    def leaving(self) -> bool:
        """Whether it was told to leave and is still there."""
        return self.running and self._to_leave

    def leave(self, *, back: bool) -> None:
        """Drain and go at the next look; come `back` some time after."""
        self._to_leave, self._to_return = True, back

    def _look(self) -> None:
        """As the supervisor: has it ended, is it to end."""
        process, worker = self.process, self._worker
        if process is None or not self.running:
            return
        if not process.alive or worker is None:
            # Whatever it was about to do: what waits in a call of it finds it dead.
            self._ended(back=True)
            return
        if not process.frozen and (worker.wait(0.0) or self._to_leave):
            self._stop(process, worker)
            self._ended(back=self._to_return or not self._to_leave)
            return
        self._driver.at(self._driver.clock.now() + _LOOK, self._look)

    def _stop(self, process: SimulatedProcess, worker: Worker) -> None:
        """In order, or by force where that takes too long."""
        drain = 0.0 if worker.failed else self._stage.settings.latency.drain_timeout_s
        self._driver.at(self._driver.clock.now() + LEAVE_SECONDS + drain, process.kill)
        try:
            worker.stop()
        except ProcessDied:
            pass
        except Exception as error:  # noqa: BLE001 - the error that ended a loop
            self._note(process, error)
        process.kill()

    def _end(self, process: SimulatedProcess, reason: str) -> None:
        """As the watchdog does: at once."""
        self._note(process, FatalError(reason))
        process.kill()
        process.check()

    def _ended(self, *, back: bool) -> None:
        if self.process is not None:
            self._driver.bury(self.process)
        self.running, self._worker = False, None
        if back:
            self._driver.at(self._driver.clock.now() + self._stage.draw.uniform(0.02, 1.0), self.start)

    def _note(self, process: SimulatedProcess, error: BaseException) -> None:
        self.ends.append(End(process.name, self._began, self._driver.clock.now(), error))

    def _build(self, process: SimulatedProcess) -> Worker:
        settings = self._stage.settings
        rooms = build_rooms(settings, self._driver.clock)
        supply = ScriptedSupply(
            self._stage.versions,
            {name: partial(self._spend, process, name) for name in self._stage.speeds},
            self._driver.clock,
        )
        loader = Loader(supply, rooms.roster, rooms.lanes, self._driver.clock, rooms.metrics)
        loader.open()
        clients: list[SimulatedConsumer] = []
        loops: list[DrivenLoop] = []

        def consumer(options: dict[str, object]) -> SimulatedConsumer:
            clients.append(process.consumer(options))
            return clients[-1]

        surroundings = Surroundings(
            consumer,
            process.producer,
            loop_maker(self._driver, process, loops),
            lambda: Blocking(self._driver, process),
            partial(self._end, process),
            lambda _: Unoccupied(),
            lambda _, topic: partial(process.identity, topic),
            watched=False,
        )
        worker, _ = build_worker(settings, self._stage.shape(), rooms, loader, surroundings, self.number)
        for loop in loops:
            loop.polls = clients[0] if loop.name == "intake" else None
        return worker

    def _spend(self, process: SimulatedProcess, model: str, claims: int) -> None:
        seconds = self._stage.speeds[model] * (1.0 + 0.05 * claims) * self.pace
        self._driver.block(process, min(seconds, _LONGEST))
