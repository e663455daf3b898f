"""The only place that builds objects: from settings to a running worker, and to the supervisor above it."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer

import schemas
from config import Settings
from config.secrets import without_secrets
from models import FeatureEncoder, Model, open_model
from stream.admission import Admission, ClaimFields
from stream.allocator import keep_freed_memory
from stream.arena import ClaimArena
from stream.backpressure import GateLimits, ReadingGate
from stream.batch_sizer import SizeLimits
from stream.batching import Batcher
from stream.clients import consumer_options, producer_options
from stream.clock import Clock, SystemClock
from stream.codec import Decoder, Encoder
from stream.consumer import ClaimConsumer, PollLimits
from stream.delivery import Delivery, OutputTopics
from stream.errors import UsageError
from stream.lanes import Lanes
from stream.metrics import StageMetrics
from stream.offsets import OffsetLedger
from stream.ordering import KeyOrder
from stream.outbox import Outbox
from stream.pipeline import Bounds, Pipeline, Rhythm
from stream.producer import ClaimProducer
from stream.results import ScoreColumns
from stream.router import Router
from stream.scoring import Scorer
from stream.supervisor import STOP, Ended, Ready
from stream.turns import Turns
from stream.worker import Progress, Worker

log = logging.getLogger(__name__)

# Three threads share the interpreter lock; the default of 5 ms is the hand-over latency that each would see.
_SWITCH_INTERVAL = 0.0005
_REPORT_INTERVAL = 0.5
_POLL_WAIT = 0.1
_SMALL_BATCH = 512
_LONGEST_COALESCE = 0.005
_DELIVERY_ALLOWANCE = 0.01


@dataclass(frozen=True, slots=True)
class TopicShape:
    """Partitions of the topics, as the broker has them."""

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class Assembly:
    """A worker and what is asked of it from outside."""

    worker: Worker
    metrics: StageMetrics
    models: Sequence[Model]


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the steps share."""

    models: Sequence[Model]
    router: Router
    arena: ClaimArena
    lanes: Lanes
    orders: Sequence[KeyOrder]
    ledger: OffsetLedger
    metrics: StageMetrics
    clock: Clock
    budget: float

    @property
    def names(self) -> list[str]:
        """Model of each lane."""
        return [model.identity.name for model in self.models]

    @property
    def encoders(self) -> dict[str, FeatureEncoder]:
        """One feature encoder a spec."""
        return {model.spec_digest: model.features for model in self.models}


def assemble(settings: Settings, shape: TopicShape, clock: Clock) -> Assembly:
    """Build one worker; models are opened, nothing is connected yet."""
    rooms = _rooms(settings, clock)
    limits = settings.limits
    progress = Progress(rooms.ledger, clock, settings.latency.drain_timeout_s)
    consumer = _consumer(settings, rooms, progress)
    producer = _producer(settings, rooms.arena.capacity)
    pipeline = Pipeline(
        consumer=consumer,
        admission=_admission(settings, rooms),
        arena=rooms.arena,
        lanes=rooms.lanes,
        routes=rooms.router.routes,
        batcher=Batcher(rooms.lanes, rooms.names, _size_limits(settings), _DELIVERY_ALLOWANCE, rooms.metrics),
        scorer=Scorer(rooms.models, rooms.arena, clock),
        outbox=Outbox(limits.output_queue_batches, limits.poll_max_claims),
        delivery=_delivery(settings, rooms, producer, shape),
        producer=producer,
        ledger=rooms.ledger,
        gate=ReadingGate(GateLimits()),
        turns=Turns(_SMALL_BATCH),
        bounds=Bounds(
            claims=limits.claims_in_flight,
            bytes=int(limits.bytes_in_flight_mb * 1_000_000),
            output_claims=2 * limits.poll_max_claims,
            ahead=settings.batching.size_max,
        ),
        rhythm=Rhythm(),
        signals=progress.signals(),
        clock=clock,
        metrics=rooms.metrics,
    )
    worker = Worker(pipeline, consumer, producer, rooms.ledger, progress, clock)
    return Assembly(worker, rooms.metrics, rooms.models)


def _rooms(settings: Settings, clock: Clock) -> Rooms:
    models = _open_models(settings)
    router = Router(settings.routes, list(_route_names(settings)))
    # One poll may come in when the store is just not full yet.
    capacity = settings.limits.claims_in_flight + settings.limits.poll_max_claims
    columns = {model.spec_digest: model.features.columns for model in models}
    return Rooms(
        models=models,
        router=router,
        arena=ClaimArena(capacity, columns, max(map(len, router.routes))),
        lanes=Lanes(len(models)),
        orders=[KeyOrder(capacity) for _ in router.routes],
        ledger=OffsetLedger(),
        metrics=StageMetrics(),
        clock=clock,
        budget=settings.latency.budget_ms / 1_000,
    )


def _admission(settings: Settings, rooms: Rooms) -> Admission:
    return Admission(
        _decoder(settings, rooms.clock),
        rooms.router,
        rooms.encoders,
        [model.spec_digest for model in rooms.models],
        rooms.arena,
        rooms.lanes,
        rooms.orders,
        ClaimFields(settings.schemas.id_field, settings.schemas.type_field),
        rooms.budget,
        rooms.clock,
        rooms.metrics,
    )


def _delivery(settings: Settings, rooms: Rooms, producer: ClaimProducer, shape: TopicShape) -> Delivery:
    topics = settings.kafka.topics
    encoder = Encoder(schemas.load("claim_score"))
    columns = ScoreColumns(
        encoder.arrow_schema,
        rooms.arena,
        [model.identity for model in rooms.models],
        [model.decisions for model in rooms.models],
        topic=topics.input,
        budget=rooms.budget,
    )
    return Delivery(
        rooms.arena,
        rooms.orders,
        columns,
        encoder,
        producer,
        rooms.ledger,
        OutputTopics(topics.input, topics.output, topics.dead_letters, shape.input == shape.output),
        rooms.names,
        rooms.budget,
        rooms.clock,
        rooms.metrics,
    )


def check_clients(settings: Settings) -> None:
    """Raises UsageError for an option that librdkafka does not know or cannot read; waits for no broker."""
    kafka = settings.kafka
    # The clients try to connect from their first moment; whether the broker answers is said elsewhere.
    silent = logging.Logger("probe", level=logging.CRITICAL + 1)
    try:
        Consumer(
            consumer_options(kafka.bootstrap_servers, kafka.group_id, kafka.client, kafka.consumer),
            logger=silent,
        ).close()
        Producer(
            producer_options(kafka.bootstrap_servers, 1_000, kafka.client, kafka.producer), logger=silent
        )
    except KafkaException as error:
        reason = without_secrets(error.args[0].str())
        raise UsageError(
            f"kafka: the client refuses its options: {reason}; check client, consumer, producer"
        ) from error


def run_worker(settings: Settings, shape: TopicShape, connection: Connection) -> None:
    """Life of a worker process: warm up, join, score until the supervisor says stop or is gone."""
    _prepare_process(settings)
    clock = SystemClock()
    try:
        assembly = assemble(settings, shape, clock)
        for model in assembly.models:
            model.warm_up(_warm_sizes(settings))
        assembly.worker.start()
        _report_until_stop(assembly, connection)
        unfinished = assembly.worker.stop()
    except Exception as error:
        log.exception("the worker ends")
        _tell(connection, Ended(0, f"{type(error).__name__}: {error}"))
        sys.exit(1)
    _tell(connection, assembly.metrics.snapshot())
    _tell(connection, Ended(unfinished))


def spawner(settings: Settings, shape: TopicShape) -> Any:
    """How the supervisor starts a worker process: spawned, because threads and clients do not survive a fork."""
    context = multiprocessing.get_context("spawn")

    def spawn(slot: int, connection: Connection) -> BaseProcess:
        process = context.Process(
            target=run_worker, args=(settings, shape, connection), name=f"claimstream-worker-{slot}"
        )
        process.start()
        return process

    return spawn


def _report_until_stop(assembly: Assembly, connection: Connection) -> None:
    told = False
    while not assembly.worker.wait(0.0):
        if not told and assembly.worker.joined:
            told = _tell(connection, Ready())
        if connection.poll(_REPORT_INTERVAL) and _received(connection) == STOP:
            return
        if not _tell(connection, assembly.metrics.snapshot()):
            return


def _received(connection: Connection) -> str:
    try:
        word: str = connection.recv()
    except (EOFError, ConnectionResetError):
        log.error("the supervisor is gone; draining and leaving")  # noqa: TRY400 - the place is no news
        return STOP
    return word


def _tell(connection: Connection, report: object) -> bool:
    try:
        connection.send(report)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _prepare_process(settings: Settings) -> None:
    # A Ctrl-C reaches the whole process group; only the supervisor answers it, and tells the workers to drain.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    keep_freed_memory()
    configure_logging(settings)


def configure_logging(settings: Settings) -> None:
    """Plain lines on standard error."""
    # librdkafka calls enable.gapless.guarantee experimental at every start; it was weighed when it was chosen.
    logging.getLogger("librdkafka").addFilter(
        lambda record: "enable.gapless.guarantee" not in record.getMessage()
    )
    logging.basicConfig(
        level=settings.logging.level.upper(),
        format=f"%(asctime)s %(levelname)s {os.getpid()} %(name)s: %(message)s",
    )


def _route_names(settings: Settings) -> dict[str, None]:
    return dict.fromkeys(name for names in settings.routes.values() for name in names)


def _open_models(settings: Settings) -> list[Model]:
    return [open_model(name, threads=settings.workers.torch_threads) for name in _route_names(settings)]


def _decoder(settings: Settings, clock: Clock) -> Decoder:
    chosen = settings.schemas
    registry = None
    if chosen.registry_url is not None:
        # The registry's client brings an HTTP stack that takes most of a second to import.
        from stream.codec.registry import RegistrySource

        registry = RegistrySource(chosen.registry_url, chosen.registry, clock)
    decoder = Decoder(
        _schema(chosen.input),
        bare_schema=_schema(chosen.bare) if chosen.bare else None,
        known_writers=[_schema(path) for path in chosen.known_writers],
        registry=registry,
        max_record_bytes=settings.limits.record_max_bytes,
    )
    for setting, name in (("id_field", chosen.id_field), ("type_field", chosen.type_field)):
        if name not in decoder.arrow_schema.names:
            known = ", ".join(decoder.arrow_schema.names)
            raise UsageError(f"schemas.{setting}: {chosen.input} has no field {name!r}; it has {known}")
    return decoder


def _schema(name: str) -> dict[str, Any]:
    """A shipped schema by its name, or the one in a file."""
    if not name.endswith(".avsc"):
        return schemas.load(name)
    try:
        schema: dict[str, Any] = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"schemas: {name}: {error}") from error
    return schema


def _consumer(settings: Settings, rooms: Rooms, progress: Progress) -> ClaimConsumer:
    kafka = settings.kafka
    options = consumer_options(kafka.bootstrap_servers, kafka.group_id, kafka.client, kafka.consumer)
    # The client is made before the wrapper that its commit callback belongs to, so the callback looks it up late.
    wrapped: list[ClaimConsumer] = []
    options["on_commit"] = lambda error, offsets: wrapped[0].note_commit(error, offsets)
    options["logger"] = logging.getLogger("librdkafka")
    limits = PollLimits(
        settings.limits.poll_max_claims, _POLL_WAIT, min(_LONGEST_COALESCE, 0.05 * rooms.budget)
    )
    topic = kafka.topics.input
    wrapped.append(
        ClaimConsumer(Consumer(options), topic, rooms.ledger, rooms.metrics, limits, progress.drain)
    )
    return wrapped[0]


def _producer(settings: Settings, queue_limit: int) -> ClaimProducer:
    kafka = settings.kafka
    options = producer_options(kafka.bootstrap_servers, queue_limit, kafka.client, kafka.producer)
    options["logger"] = logging.getLogger("librdkafka")
    return ClaimProducer(Producer(options), queue_limit)


def _size_limits(settings: Settings) -> SizeLimits:
    batching = settings.batching
    return SizeLimits(batching.size_min, batching.size_max, batching.size_auto)


def _warm_sizes(settings: Settings) -> tuple[int, ...]:
    batching = settings.batching
    return tuple(sorted({1, batching.size_min, batching.size_max}))
