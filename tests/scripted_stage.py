"""A whole worker around scripted clients and models, under one driver and a virtual clock."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

import schemas
from models import Model, VersionKey, open_model
from models.errors import ArtifactError, ModelError
from stream.admission import Admission, ClaimFields
from stream.arena import ClaimArena
from stream.backoff import Backoff
from stream.backpressure import Crowding, GateLimits, Pressure, ReadingGate
from stream.batch_sizer import SizeLimits
from stream.batching import Batcher, BatchingRules
from stream.clock import ManualClock
from stream.codec import Decoder, Encoder
from stream.commits import OffsetCommits
from stream.consumer import ClaimConsumer
from stream.delivery import Delivery, OutputTopics
from stream.fairness import Fairness
from stream.lanes import Lanes
from stream.loader import Loader
from stream.metrics import StageMetrics
from stream.occupancy import Unoccupied
from stream.offsets import OffsetLedger
from stream.ordering import KeyOrder
from stream.outbox import Outbox
from stream.pipeline import Pipeline
from stream.producer import ClaimProducer, Sender
from stream.publishing import generate
from stream.results import ScoreColumns
from stream.rhythm import Bounds, PollLimits, Rhythm, Signals
from stream.roster import Roster
from stream.router import Router
from stream.scoring import Scorer
from stream.topic_identity import TopicIdentity
from stream.turns import Turns
from tests.unit.test_producer import RecordingClient


class Record:
    """A message as the client gives it."""

    def __init__(
        self, partition: int, offset: int, value: bytes | None, key: bytes | None, timestamp: int
    ) -> None:
        self._answers = {"partition": partition, "offset": offset, "value": value, "key": key}
        self._timestamp = timestamp

    def __getattr__(self, name: str) -> Any:
        return lambda: self._answers.get(name)

    def timestamp(self) -> tuple[int, int]:
        return 1, self._timestamp


class ScriptedConsumer:
    """Gives the records put into it, and remembers what it is told."""

    def __init__(self) -> None:
        self.records: deque[Record] = deque()
        self.commits: list[dict[int, int]] = []
        self.standing: dict[int, TopicPartition] = {}
        self.stopped: set[int] = set()
        self.silent = False
        self.asked_for: list[str] = []

    @property
    def paused(self) -> bool:
        return bool(self.stopped)

    @paused.setter
    def paused(self, _: bool) -> None:
        self.stopped.clear()

    def subscribe(self, _: list[str], **callbacks: Any) -> None:
        self.callbacks = callbacks

    def poll(self, _: float) -> Record | None:
        return next(iter(self.consume(1, 0.0)), None)

    def consume(self, count: int, _: float) -> list[Record]:
        given = [record for record in self.records if record.partition() not in self.stopped][:count]
        self.records = deque(record for record in self.records if record not in given)
        return given

    def committed(self, asked: list[TopicPartition], _: float) -> list[TopicPartition]:
        if self.silent:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return [self.standing.get(each.partition, each) for each in asked]

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        self.commits.append({each.partition: each.offset for each in offsets})
        self.standing.update({each.partition: each for each in offsets})
        return offsets

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.stopped |= {each.partition for each in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.stopped -= {each.partition for each in partitions}

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        return 0, 10**6

    def list_topics(self, topic: str, _: float) -> None:
        self.asked_for.append(topic)


class Poisoned:
    """A model that raises whenever its batch holds one of the given charges, and counts its forwards."""

    def __init__(self, inner: Model, poison: Sequence[float]) -> None:
        self._inner = inner
        self._poison = np.array(poison, np.float32)
        self.forwards = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def score(self, features: Any) -> npt.NDArray[np.float32]:
        self.forwards += 1
        if len(self._poison) and np.isin(features["totals"][:, 0], self._poison).any():
            raise RuntimeError("cannot take this one")
        return self._inner.score(features)


class ScriptedLease:
    """A lease of a scripted model; it counts itself."""

    def __init__(self, models: ScriptedModels, key: VersionKey) -> None:
        self._models = models
        self.key = key
        self.model = models.versions[key]
        models.leases[key] += 1

    def share(self) -> ScriptedLease:
        return ScriptedLease(self._models, self.key)

    def release(self) -> None:
        self._models.leases[self.key] -= 1

    def __enter__(self) -> Any:
        return self.model

    def __exit__(self, *_: object) -> None:
        self.release()


class ScriptedLoad:
    """A load that lands when the script says so."""

    def __init__(self, models: ScriptedModels, key: VersionKey) -> None:
        self._models = models
        self._key = key

    @property
    def done(self) -> bool:
        return self._key in self._models.landed or self._key in self._models.broken

    def take(self) -> ScriptedLease:
        if self._key in self._models.broken:
            raise self._models.failure or ArtifactError(f"{self._key} is damaged")
        self._models.on_device.add(self._key)
        return ScriptedLease(self._models, self._key)


class ScriptedModels:
    """The cache as a script: what is on the device, what a name means, which loads land."""

    def __init__(self, model: Any) -> None:
        self.first = VersionKey("null", "1.0.0", "first")
        self.versions: dict[VersionKey, Any] = {self.first: model}
        self.meaning: tuple[tuple[VersionKey, int], ...] = ((self.first, 1),)
        self.on_device, self.landed, self.broken = {self.first}, set[VersionKey](), set[VersionKey]()
        self.failure: ModelError | None = None
        self.begun: list[VersionKey] = []
        self.leases: Counter[VersionKey] = Counter()
        self.expected: list[VersionKey] = []
        self.roomy = True

    def shares(self, reference: str) -> tuple[tuple[VersionKey, int], ...]:
        return self.meaning

    def resident(self, key: VersionKey) -> ScriptedLease | None:
        return ScriptedLease(self, key) if key in self.on_device else None

    def holds(self, key: VersionKey) -> bool:
        return key in self.on_device

    def begin(self, key: VersionKey) -> ScriptedLoad:
        self.begun.append(key)
        return ScriptedLoad(self, key)

    def room(self, key: VersionKey) -> bool:
        return self.roomy

    def load_seconds(self, key: VersionKey) -> float:
        return 0.5

    def expect(self, keys: Sequence[VersionKey]) -> None:
        self.expected = list(keys)


class Stage:
    """A whole worker, assembled around scripted clients."""

    commits = True

    def __init__(
        self,
        capacity: int = 1_000,
        poison: Sequence[float] = (),
        route: Sequence[str] = ("null",),
        model: str = "null",
    ) -> None:
        self.clock = ManualClock()
        self.woken: list[str] = []
        self.consumer, self.producer = ScriptedConsumer(), RecordingClient()
        self.ledger, self.metrics = OffsetLedger(), StageMetrics()
        self.model = Poisoned(open_model(model), poison)
        router, roster = Router({"*": list(route)}, list(route)), Roster(list(route))
        self.arena = ClaimArena(capacity + 200, len(route))
        lanes, orders = Lanes(), [KeyOrder(capacity + 200)]
        self.models = ScriptedModels(self.model)
        loader = Loader(self.models, roster, lanes, self.clock, self.metrics)
        loader.open()
        self.identities = lambda: "first"
        self.patiences: list[float] = []
        self.identity = TopicIdentity("claims", self.asked, self.clock)
        self.offset_commits = OffsetCommits(self.consumer, "claims", self.identity, self.ledger, self.metrics)
        member = ClaimConsumer(
            self.consumer,
            "claims",
            self.ledger,
            self.metrics,
            PollLimits(200, 0.1, 0.005, 10_000_000),
            self.drain,
            self.clock,
            self.offset_commits if self.commits else None,
        )
        encoder = Encoder(schemas.load("claim_score"))
        sender = self.sender(member)
        self.drained: list[list[int]] = []
        columns = ScoreColumns(
            encoder.arrow_schema,
            self.arena,
            roster,
            topic="claims",
            budget=0.2,
        )
        self.pipeline = Pipeline(
            consumer=member,
            admission=Admission(
                Decoder(schemas.load("claim_event")),
                router,
                roster,
                self.arena,
                lanes,
                orders,
                ClaimFields("claim_id", "claim_type"),
                0.2,
                self.clock,
                self.metrics,
            ),
            arena=self.arena,
            lanes=lanes,
            route_lengths=np.array([len(route)]),
            batcher=Batcher(lanes, loader, BatchingRules(SizeLimits(8, 64), 0.2), self.metrics),
            scorer=Scorer(self.arena, self.clock),
            loader=loader,
            outbox=Outbox(256, 200),
            delivery=Delivery(
                self.arena,
                orders,
                columns,
                encoder,
                sender,
                self.ledger,
                OutputTopics("claims", "scores", "dead", aligned=True),
                roster,
                0.2,
                self.clock,
                self.metrics,
            ),
            producer=sender,
            ledger=self.ledger,
            gate=ReadingGate(GateLimits()),
            fairness=Fairness(),
            pressure=Pressure(),
            crowding=Crowding(),
            turns=Turns(small=10),
            occupancy=Unoccupied(),
            bounds=Bounds(capacity, 10_000_000, 400, 64, 0.2),
            rhythm=Rhythm(),
            signals=Signals(*(partial(self.woken.append, each.name) for each in fields(Signals))),
            clock=self.clock,
            metrics=self.metrics,
            backoff=Backoff(draw=lambda: 0.0),
        )
        member.join()
        self.assign(0, 1)

    def asked(self, seconds: float) -> str | None:
        """What the broker says of the topic."""
        self.patiences.append(seconds)
        return self.identities()

    def sender(self, member: ClaimConsumer) -> Sender:
        return ClaimProducer(self.producer, 10_000, 100_000_000)

    def assign(self, *partitions: int) -> None:
        self.consumer.callbacks["on_assign"](self.consumer, [TopicPartition("claims", p) for p in partitions])

    def revoke(self, *partitions: int) -> None:
        self.consumer.callbacks["on_revoke"](self.consumer, [TopicPartition("claims", p) for p in partitions])

    def lose(self, *partitions: int) -> None:
        self.consumer.callbacks["on_lost"](self.consumer, [TopicPartition("claims", p) for p in partitions])

    def drain(self, partitions: Sequence[int]) -> None:
        """The driver's drain: run the other steps until nothing of these partitions is pending."""
        self.drained.append(list(partitions))
        self.pipeline.drain(partitions)
        for _ in range(100):
            if not self.ledger.pending(partitions):
                break
            self.step("scoring", "output")
            self.producer.acknowledge(len(self.producer))
        self.pipeline.drained()

    def publish(self, count: int, partition: int = 0, start: int = 0, *, keyed: bool = True) -> None:
        values = [v for b in generate(count, 3) for v in Encoder(schemas.load("claim_event")).encode(b)]
        now = int(self.clock.wall() * 1_000)
        self.consumer.records += [
            Record(partition, start + i, v, b"k%d" % (i % 7) if keyed else None, now)
            for i, v in enumerate(values)
        ]

    def step(self, *names: str) -> None:
        for name in names or ("loading", "intake", "scoring", "slow_scoring", "output"):
            getattr(self.pipeline, name)(self.clock.now())

    def run(self, rounds: int = 40) -> None:
        for _ in range(rounds):
            self.step()
            self.producer.acknowledge(len(self.producer))
            self.clock.advance(0.01)

    def count(self, name: str, *labels: str) -> float:
        return self.metrics.snapshot().numbers.get((name, labels), 0.0)


def told_to_end_while_it_polls(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of intake, in whose poll the stage is told to end."""
    given = stage.consumer.consume

    def told_meanwhile(count: int, wait: float) -> list[Record]:
        stage.pipeline.closing = True
        return given(count, wait)

    monkeypatch.setattr(stage.consumer, "consume", told_meanwhile)
    stage.step("intake")
