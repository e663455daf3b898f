"""The only place that builds objects: from settings to a running worker, and to the supervisor above it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import schemas
from config import Settings
from models import CPU, FeatureError, ModelError, SyncModelCacheManager, UnavailableError, UnknownModelError
from stream.admission import Admission, ClaimFields
from stream.arena import ClaimArena
from stream.backoff import Backoff
from stream.backpressure import Crowding, GateLimits, Pressure, ReadingGate
from stream.batching import Batcher
from stream.claim_schemas import claim_decoder
from stream.client_watch import ClientWatch, cluster_answers, patience_for
from stream.clients import begins_at_end
from stream.clock import Clock
from stream.codec import Decoder, Encoder, samples
from stream.commits import OffsetCommits
from stream.committed import read_committed
from stream.consumer import ClaimConsumer
from stream.delivery import Delivery, OutputTopics
from stream.errors import UsageError
from stream.fairness import Fairness
from stream.lanes import Lanes
from stream.letter_limit import LetterRules
from stream.loader import LoadedModel, Loader
from stream.metrics import StageMetrics
from stream.offsets import OffsetLedger
from stream.options import (
    TopicShape,
    admin_options,
    batching_rules,
    cache_options,
    member_options,
    model_catalog,
    place,
    poll_limits,
    record_limits,
    route_names,
    schedule,
    sender_options,
)
from stream.ordering import KeyOrder
from stream.outbox import Outbox
from stream.pipeline import Pipeline
from stream.producer import ClaimProducer, Sender
from stream.results import ScoreColumns
from stream.rhythm import BATCHES_AHEAD, Bounds, Rhythm
from stream.roster import Roster
from stream.router import Router
from stream.scoring import Scorer
from stream.speeds import Speeds, default_file
from stream.surroundings import Surroundings
from stream.topic_identity import TopicIdentity
from stream.transaction_policy import CommitTimes, TransactionLimits
from stream.transactions import TransactionalProducer
from stream.turns import Turns
from stream.watchdog import Watchdog
from stream.worker import Progress, Worker

log = logging.getLogger(__name__)

_AT_START = ("high", "critical")
_SMALL_BATCH = 512
# For a batch that fails: other lanes wait meanwhile, and one that fails slowly must not pass for a step that hangs.
_SHARE_OF_STEP = 0.1
# Feature specs read few claims one by one and many in bulk.
_SAMPLES = (1, 64)
_CLIENTS_BATCH_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Assembly:
    """A worker and what is asked of it from outside."""

    worker: Worker
    metrics: StageMetrics
    cache: SyncModelCacheManager
    loader: Loader
    batcher: Batcher
    speeds: Speeds


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the steps share."""

    decoder: Decoder
    roster: Roster
    router: Router
    arena: ClaimArena
    lanes: Lanes
    orders: Sequence[KeyOrder]
    ledger: OffsetLedger
    metrics: StageMetrics
    clock: Clock
    budget: float


def assemble(settings: Settings, shape: TopicShape, clock: Clock, slot: int = 0) -> Assembly:
    """Build one worker and load its models; nothing is connected yet. Raises ModelError.

    `slot`: its number within the instance.
    """
    cache = _cache(settings, slot)
    rooms = build_rooms(settings, clock)
    loader = Loader(
        cache.supply,
        rooms.roster,
        rooms.lanes,
        clock,
        rooms.metrics,
        schedule(settings),
        partial(_check_reads, settings, rooms),
    )
    _open(loader)
    _preload(settings, cache)
    worker, batcher = build_worker(settings, shape, rooms, loader, slot=slot, device=cache.device)
    return Assembly(worker, rooms.metrics, cache, loader, batcher, _speeds(settings))


def build_worker(
    settings: Settings,
    shape: TopicShape,
    rooms: Rooms,
    loader: Loader,
    surroundings: Surroundings | None = None,
    slot: int = 0,
    device: str = CPU,
) -> tuple[Worker, Batcher]:
    """A worker around these rooms, and what decides on its batches."""
    surroundings = surroundings or Surroundings()
    limits, clock = settings.limits, rooms.clock
    scorer = Scorer(rooms.arena, clock, _SHARE_OF_STEP * limits.step_timeout_s)
    progress = Progress(rooms.ledger, clock, settings.latency.drain_timeout_s, surroundings.moved())
    identity = _identity(settings, surroundings, clock)
    consumer = _consumer(settings, rooms, progress, identity, surroundings, slot)
    watchdog = Watchdog(clock, surroundings.end)
    producer = _producer(settings, rooms, consumer, identity, shape, watchdog, surroundings, slot)
    pipeline = Pipeline(
        consumer=consumer,
        admission=_admission(settings, rooms),
        arena=rooms.arena,
        lanes=rooms.lanes,
        route_lengths=np.array([len(route) for route in rooms.router.routes]),
        batcher=_batcher(settings, rooms, loader, scorer),
        scorer=scorer,
        loader=loader,
        outbox=Outbox(limits.output_queue_claims, limits.poll_max_claims),
        delivery=_delivery(settings, rooms, producer, shape),
        producer=producer,
        ledger=rooms.ledger,
        gate=ReadingGate(GateLimits()),
        fairness=Fairness(),
        pressure=Pressure(),
        crowding=Crowding(),
        turns=Turns(_SMALL_BATCH),
        bounds=Bounds(
            claims=limits.claims_in_flight,
            bytes=limits.bytes_in_flight,
            output_claims=2 * limits.poll_max_claims,
            ahead=BATCHES_AHEAD * settings.batching.size_max,
            budget=rooms.budget,
        ),
        occupancy=surroundings.occupancy(device),
        rhythm=Rhythm(),
        signals=progress.signals(),
        clock=clock,
        metrics=rooms.metrics,
        backoff=Backoff(),
    )
    watch = _client_watch(settings, consumer, producer, identity, surroundings, clock)
    worker = Worker(
        pipeline, consumer, producer, rooms.ledger, progress, clock, watchdog, watch, surroundings.make_loop
    )
    return worker, pipeline.batcher


def build_rooms(settings: Settings, clock: Clock) -> Rooms:
    """What the steps of one worker share."""
    references = list(route_names(settings))
    router = Router(settings.routes, references)
    # One poll may come in when the store is just not full yet.
    capacity = settings.limits.claims_in_flight + settings.limits.poll_max_claims
    return Rooms(
        decoder=claim_decoder(settings.schemas, settings.limits.record_max_bytes, clock),
        roster=Roster(references),
        router=router,
        arena=ClaimArena(capacity, max(map(len, router.routes))),
        lanes=Lanes(),
        orders=[KeyOrder(capacity) for _ in router.routes],
        ledger=OffsetLedger(),
        metrics=StageMetrics(),
        clock=clock,
        budget=settings.latency.budget_ms / 1_000,
    )


def _admission(settings: Settings, rooms: Rooms) -> Admission:
    return Admission(
        rooms.decoder,
        rooms.router,
        rooms.roster,
        rooms.arena,
        rooms.lanes,
        rooms.orders,
        ClaimFields(settings.schemas.id_field, settings.schemas.type_field),
        rooms.budget,
        rooms.clock,
        rooms.metrics,
    )


def _delivery(settings: Settings, rooms: Rooms, producer: Sender, shape: TopicShape) -> Delivery:
    topics = settings.kafka.topics
    encoder = Encoder(schemas.load("claim_score"))
    columns = ScoreColumns(
        encoder.arrow_schema,
        rooms.arena,
        rooms.roster,
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
        OutputTopics(
            topics.input,
            topics.output,
            topics.dead_letters,
            shape.input == shape.output,
            *record_limits(settings, shape),
            partitions=shape.input,
        ),
        rooms.roster,
        rooms.budget,
        rooms.clock,
        rooms.metrics,
        LetterRules(settings.limits.dead_letter_share, settings.limits.dead_letter_window),
    )


def _batcher(settings: Settings, rooms: Rooms, loader: Loader, scorer: Scorer) -> Batcher:
    batcher = Batcher(rooms.lanes, loader, batching_rules(settings), rooms.metrics, _speeds(settings).known())
    batcher.conditions.ceilings = scorer.ceilings
    return batcher


def _cache(settings: Settings, slot: int) -> SyncModelCacheManager:
    """Raises UsageError for a device or a folder that cannot be had."""
    try:
        return SyncModelCacheManager(options=cache_options(settings, slot))
    except UnavailableError as error:
        raise UsageError(str(error)) from error


def _open(loader: Loader) -> None:
    try:
        loader.open()
    except FeatureError as error:
        raise UsageError(f"routes: {error}") from error


def _preload(settings: Settings, cache: SyncModelCacheManager) -> None:
    """What is asked for by name, then what is of priority high; a model that is not there was warned of already."""
    high = [
        name for name, entry in model_catalog(settings).models.items() if entry.cache_priority in _AT_START
    ]
    for name in dict.fromkeys([*settings.workers.preload_models, *high]):
        try:
            cache.preload([name])
        except UnknownModelError as error:
            log.debug("not preloaded: %s", error)
        except ModelError as error:
            log.warning("not preloaded: %s: %s", name, error)


def _check_reads(settings: Settings, rooms: Rooms, model: LoadedModel) -> None:
    """Raises FeatureError for a model that cannot read claims of the reader schema: none of them, now or later."""
    for claims in samples(rooms.decoder.arrow_schema, rooms.decoder.shape, _SAMPLES):
        try:
            model.features.encode(claims)
        except Exception as error:
            # Whatever a feature spec stumbles over in columns of other names or types; such errors share no base.
            name = f"{model.identity.name} {model.identity.version}"
            reason = str(error) if isinstance(error, FeatureError) else f"{type(error).__name__}: {error}"
            raise FeatureError(
                f"{name} cannot read claims of schemas.input, {settings.schemas.input}: {reason}; give that schema the "
                "fields that the model reads (aliases take them from fields of other names), or route to another model"
            ) from error


def _identity(settings: Settings, surroundings: Surroundings, clock: Clock) -> TopicIdentity:
    name = settings.kafka.topics.input
    return TopicIdentity(name, surroundings.identity(admin_options(settings), name), clock)


def _consumer(
    settings: Settings,
    rooms: Rooms,
    progress: Progress,
    identity: TopicIdentity,
    surroundings: Surroundings,
    slot: int,
) -> ClaimConsumer:
    kafka, ledger = settings.kafka, rooms.ledger
    options = member_options(settings, place(settings, slot) if kafka.static_membership else None)
    # The client is made before the object that its commit callback belongs to, so the callback looks it up late.
    made: list[OffsetCommits] = []
    options["on_commit"] = lambda error, offsets: made[0].note(error, offsets)
    client = surroundings.consumer(options)
    made.append(OffsetCommits(client, kafka.topics.input, identity, ledger, rooms.metrics))
    return ClaimConsumer(
        client,
        kafka.topics.input,
        ledger,
        rooms.metrics,
        poll_limits(settings),
        progress.drain,
        rooms.clock,
        made[0] if kafka.delivery == "at_least_once" else None,
        from_end=begins_at_end(options),
    )


def _producer(
    settings: Settings,
    rooms: Rooms,
    consumer: ClaimConsumer,
    identity: TopicIdentity,
    shape: TopicShape,
    watchdog: Watchdog,
    surroundings: Surroundings,
    slot: int,
) -> Sender:
    queue_limit, input_topic = rooms.arena.capacity, settings.kafka.topics.input
    options = {**sender_options(settings, queue_limit, slot), "logger": logging.getLogger("librdkafka")}
    # A topic's limit is that of a batch: one of small results must not exceed it either.
    smallest = min(shape.output_bytes, shape.dead_letter_bytes)
    options["batch.size"] = min(int(options.get("batch.size", _CLIENTS_BATCH_BYTES)), smallest)
    byte_limit = settings.limits.bytes_in_flight
    if settings.kafka.delivery == "at_least_once":
        return ClaimProducer(surroundings.producer(options), queue_limit, byte_limit)
    return TransactionalProducer(
        lambda: surroundings.producer(options),
        consumer,
        identity,
        partial(
            read_committed,
            lambda: surroundings.consumer(member_options(settings)),
            input_topic,
        ),
        rooms.ledger,
        TransactionLimits.of(rooms.budget, queue_limit, byte_limit),
        CommitTimes(rooms.budget),
        watchdog,
        rooms.clock,
        rooms.metrics,
    )


def _client_watch(
    settings: Settings,
    consumer: ClaimConsumer,
    producer: Sender,
    identity: TopicIdentity,
    surroundings: Surroundings,
    clock: Clock,
) -> ClientWatch | None:
    if not surroundings.watched:
        return None
    topics = settings.kafka.topics
    reach = {
        "consumer": consumer.reaches_cluster,
        "producer": lambda: producer.reaches_cluster(topics.output),
        "client that asks for the input topic": identity.reaches_cluster,
    }
    options = member_options(settings)
    anew = partial(cluster_answers, partial(surroundings.consumer, options), topics.input)
    return ClientWatch(reach, anew, patience_for(options), clock)


def _speeds(settings: Settings) -> Speeds:
    file = settings.batching.speeds_file
    return Speeds(Path(file) if file else default_file())
