"""The steps of a worker under one driver and a virtual clock: no threads, no sleeps, no broker."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from confluent_kafka import TopicPartition

import schemas
from models import Model, open_model
from stream.admission import Admission, ClaimFields
from stream.arena import ClaimArena
from stream.backpressure import Flow, GateLimits, ReadingGate
from stream.batch_sizer import SizeLimits
from stream.batching import Batcher
from stream.clock import ManualClock
from stream.codec import Decoder, Encoder
from stream.consumer import ClaimConsumer, PollLimits
from stream.delivery import Delivery, OutputTopics
from stream.errors import RetryError
from stream.lanes import Lanes
from stream.metrics import StageMetrics
from stream.offsets import OffsetLedger
from stream.ordering import KeyOrder
from stream.outbox import Outbox
from stream.pipeline import Bounds, Pipeline, Rhythm, Signals
from stream.producer import ClaimProducer
from stream.publishing import generate
from stream.results import ScoreColumns
from stream.router import Router
from stream.scoring import Scorer
from stream.turns import Turns
from tests.unit.test_producer import RecordingClient


class Record:
    """A message as the client gives it."""

    def __init__(self, partition: int, offset: int, value: bytes | None, key: bytes, timestamp: int) -> None:
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
        self.paused = False

    def subscribe(self, _: list[str], **callbacks: Any) -> None:
        self.callbacks = callbacks

    def poll(self, _: float) -> Record | None:
        return self.records.popleft() if self.records and not self.paused else None

    def consume(self, count: int, _: float) -> list[Record]:
        return [self.records.popleft() for _ in range(min(count, len(self.records)))]

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        self.commits.append({each.partition: each.offset for each in offsets})

    def pause(self, _: object) -> None:
        self.paused = True

    def resume(self, _: object) -> None:
        self.paused = False

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        return 0, 10**6


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
        if np.isin(features["totals"][:, 0], self._poison).any():
            raise RuntimeError("cannot take this one")
        return self._inner.score(features)


class Stage:
    """A whole worker, assembled around scripted clients."""

    def __init__(self, capacity: int = 1_000, poison: Sequence[float] = ()) -> None:
        self.clock = ManualClock()
        self.consumer, self.producer = ScriptedConsumer(), RecordingClient()
        self.ledger, self.metrics = OffsetLedger(), StageMetrics()
        self.model = Poisoned(open_model("null"), poison)
        router = Router({"*": ["null"]}, ["null"])
        digest = self.model.spec_digest
        self.arena = ClaimArena(capacity + 200, {digest: self.model.features.columns}, 1)
        lanes, orders = Lanes(1), [KeyOrder(capacity + 200)]
        member = ClaimConsumer(
            self.consumer, "claims", self.ledger, self.metrics, PollLimits(200, 0.1, 0.005), self.drain
        )
        encoder = Encoder(schemas.load("claim_score"))
        sender = ClaimProducer(self.producer, 10_000)
        self.drained: list[list[int]] = []
        columns = ScoreColumns(
            encoder.arrow_schema,
            self.arena,
            [self.model.identity],
            [self.model.decisions],
            topic="claims",
            budget=0.2,
        )
        self.pipeline = Pipeline(
            consumer=member,
            admission=Admission(
                Decoder(schemas.load("claim_event")),
                router,
                {digest: self.model.features},
                [digest],
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
            routes=router.routes,
            batcher=Batcher(lanes, ["null"], SizeLimits(8, 64), 0.01, self.metrics),
            scorer=Scorer([self.model], self.arena, self.clock),
            outbox=Outbox(4, 200),
            delivery=Delivery(
                self.arena,
                orders,
                columns,
                encoder,
                sender,
                self.ledger,
                OutputTopics("claims", "scores", "dead", aligned=True),
                ["null"],
                0.2,
                self.clock,
                self.metrics,
            ),
            producer=sender,
            ledger=self.ledger,
            gate=ReadingGate(GateLimits()),
            turns=Turns(small=10),
            bounds=Bounds(capacity, 10_000_000, 400, 64),
            rhythm=Rhythm(),
            signals=Signals(*[lambda: None] * 4),
            clock=self.clock,
            metrics=self.metrics,
        )
        member.join()
        self.assign(0, 1)

    def assign(self, *partitions: int) -> None:
        self.consumer.callbacks["on_assign"](self.consumer, [TopicPartition("claims", p) for p in partitions])

    def revoke(self, *partitions: int) -> None:
        self.consumer.callbacks["on_revoke"](self.consumer, [TopicPartition("claims", p) for p in partitions])

    def lose(self, *partitions: int) -> None:
        self.consumer.callbacks["on_lost"](self.consumer, [TopicPartition("claims", p) for p in partitions])

    def drain(self, partitions: Sequence[int]) -> None:
        """The driver's drain: run the other steps until nothing of these partitions is pending."""
        self.drained.append(list(partitions))
        self.pipeline.drain()
        for _ in range(100):
            if not self.ledger.pending(partitions):
                break
            self.step("scoring", "output")
            self.producer.acknowledge(len(self.producer))
        self.pipeline.drained()

    def publish(self, count: int, partition: int = 0, start: int = 0) -> None:
        values = [v for b in generate(count, 3) for v in Encoder(schemas.load("claim_event")).encode(b)]
        now = int(self.clock.wall() * 1_000)
        self.consumer.records += [
            Record(partition, start + i, v, b"k%d" % (i % 7), now) for i, v in enumerate(values)
        ]

    def step(self, *names: str) -> None:
        for name in names or ("intake", "scoring", "output"):
            getattr(self.pipeline, name)(self.clock.now())

    def run(self, rounds: int = 40) -> None:
        for _ in range(rounds):
            self.step()
            self.producer.acknowledge(len(self.producer))
            self.clock.advance(0.01)

    def count(self, name: str, *labels: str) -> float:
        return self.metrics.snapshot().numbers.get((name, labels), 0.0)


def test_every_claim_is_scored_delivered_and_committed() -> None:
    stage = Stage()
    stage.publish(300, partition=0)
    stage.publish(100, partition=1, start=50)
    stage.run()
    assert [partition for _, partition, _ in stage.producer.sent].count(0) == 300
    assert len(stage.producer.sent) == 400
    assert stage.consumer.commits[-1] in ({0: 300, 1: 150}, {0: 300}, {1: 150})
    assert stage.ledger.pending() == 0
    assert (stage.arena.in_flight, stage.arena.bytes_held) == (0, 0)


def test_nothing_is_committed_before_it_is_acknowledged() -> None:
    stage = Stage()
    stage.publish(50)
    for _ in range(60):
        stage.step()
        stage.clock.advance(0.01)
    assert len(stage.producer.sent) == 50
    assert stage.consumer.commits == []
    stage.producer.acknowledge(len(stage.producer))
    stage.run(40)
    assert stage.consumer.commits == [{0: 50}]


def test_reading_stops_while_the_output_is_blocked_and_goes_on_after() -> None:
    stage = Stage(capacity=400)
    stage.producer.__class__ = type("Full", (RecordingClient,), {"__len__": lambda _: 10_000})
    stage.publish(3_000)
    for _ in range(200):
        stage.step()
        stage.clock.advance(0.01)
    assert stage.pipeline.gate.flow is Flow.PAUSE
    assert stage.consumer.paused
    assert stage.arena.in_flight <= 600
    assert len(stage.consumer.records) >= 2_000
    stage.producer.__class__ = RecordingClient
    stage.run(200)
    assert len(stage.producer.sent) == 3_000
    assert not stage.consumer.paused


def test_intake_leaves_the_rest_in_the_log_while_a_full_batch_waits() -> None:
    stage = Stage()
    stage.publish(900)
    for _ in range(5):
        stage.step("intake")
        stage.clock.advance(0.01)
    assert stage.arena.in_flight == 200
    assert not stage.consumer.paused
    stage.step("scoring", "scoring", "scoring", "intake")
    assert stage.arena.in_flight == 400
    stage.run()
    assert len(stage.producer.sent) == 900


class Unreachable:
    """A decoder whose registry does not answer at first."""

    def __init__(self, inner: Decoder, failures: int) -> None:
        self._inner = inner
        self._failures = failures

    def decode(self, values: Sequence[bytes | None]) -> Any:
        self._failures -= 1
        if self._failures >= 0:
            raise RetryError("the schema registry cannot be reached")
        return self._inner.decode(values)


def test_claims_wait_while_the_registry_is_away() -> None:
    stage = Stage()
    stage.pipeline.admission._decoder = Unreachable(Decoder(schemas.load("claim_event")), failures=3)
    stage.publish(300)
    stage.run(50)
    assert stage.producer.sent == []
    assert stage.consumer.commits == []
    assert stage.pipeline.gate.flow is Flow.PAUSE
    stage.run(400)
    assert len(stage.producer.sent) == 300
    assert stage.count("retries_total", "RetryError") == 3
    assert stage.consumer.commits[-1] == {0: 300}


def test_partitions_assigned_during_a_pause_are_paused_too() -> None:
    stage = Stage()
    stage.pipeline.closing = True
    for _ in range(50):
        stage.step("intake")
        stage.clock.advance(0.01)
    stage.consumer.paused = False
    stage.assign(5)
    stage.step("intake")
    assert stage.consumer.paused


def test_poison_costs_only_itself_and_few_forwards() -> None:
    claims = next(iter(generate(128, 3)))
    charges = open_model("null").features.encode(claims)["totals"][:, 0]
    poison = [float(charges[5]), float(charges[77])]
    culprits = int(np.isin(charges, np.array(poison, np.float32)).sum())
    stage = Stage(poison=poison)
    stage.publish(128)
    stage.run()
    topics = [topic for topic, _, _ in stage.producer.sent]
    assert (topics.count("scores"), topics.count("dead")) == (128 - culprits, culprits)
    assert stage.count("dead_letters_total", "ScoringError") == culprits
    assert stage.model.forwards <= 2 + 2 * culprits * 7
    assert stage.consumer.commits[-1] == {0: 128}
    assert stage.arena.in_flight == 0


def test_a_revoke_finishes_and_commits_what_is_in_flight() -> None:
    stage = Stage()
    stage.publish(150)
    stage.step("intake")
    stage.revoke(0)
    assert stage.drained == [[0]]
    assert stage.consumer.commits == [{0: 150}]
    assert len(stage.producer.sent) == 150
    assert stage.ledger.owned() == [1]


def test_what_is_lost_is_neither_produced_nor_committed() -> None:
    stage = Stage()
    stage.publish(150)
    stage.step("intake")
    stage.lose(0)
    stage.run()
    assert stage.producer.sent == []
    assert stage.consumer.commits == []
    assert stage.count("stale_results_total") == 150
    assert stage.arena.in_flight == 0


def test_completions_of_an_old_assignment_do_not_count_for_the_new_one() -> None:
    stage = Stage()
    stage.publish(150)
    stage.step()
    stage.step("scoring", "output")
    stage.lose(0)
    stage.assign(0)
    stage.publish(20)
    stage.run()
    assert stage.consumer.commits[-1] == {0: 20}


@pytest.mark.parametrize(("timestamp", "late"), [(None, 0), (-1, 0), (10_000_000, 0), (-500, 50)])
def test_deadlines_come_from_the_records_own_timestamp(timestamp: int | None, late: int) -> None:
    stage = Stage()
    stage.publish(50)
    for record in stage.consumer.records:
        if timestamp is not None:
            record._timestamp = timestamp if timestamp == -1 else record._timestamp + timestamp
    stage.step("intake")
    remaining = stage.arena.deadline[stage.arena.key != None] - stage.clock.now()  # noqa: E711 - element by element
    assert ((remaining <= 0).sum(), (remaining > 0.2 + 1e-6).sum()) == (late, 0)
