"""From settings to what the components are told: values alone, nothing is built here."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import Settings
from config.model_catalog import SHIPPED_CATALOG, ModelCatalog, load_catalog
from models import CPU, GIGABYTE, CacheOptions, ModelPriority
from stream.batch_sizer import SizeLimits
from stream.batching import BatchingRules
from stream.clients import consumer_options, largest_message, producer_options, transactional_options
from stream.errors import UsageError
from stream.letters import LEAST_LETTER
from stream.loader import Schedule
from stream.rhythm import PollLimits
from stream.topics import LEAST_RESULT, MAX_MESSAGE_BYTES

_POLL_WAIT = 0.1
_LONGEST_COALESCE = 0.012
_HELD_SHARE = 0.25
# Where it is smaller than what a topic takes, this is what to raise.
PRODUCER_LIMIT = "kafka.producer: {message.max.bytes: …}"

# By how many latency budgets a model's claims go ahead of their deadline.
_HEAD_STARTS = {"low": -0.5, "medium": 0.0, "high": 0.5, "critical": 1.0}


@dataclass(frozen=True, slots=True)
class TopicShape:
    """Partitions of the topics, and the bytes that a record of the outputs may have, as the broker has them."""

    input: int
    output: int
    output_bytes: int = MAX_MESSAGE_BYTES
    dead_letter_bytes: int = MAX_MESSAGE_BYTES


def cache_options(settings: Settings, slot: int = 0) -> CacheOptions:
    """The cache of one worker; its pools of RAM and Redis belong to all."""
    cache, workers = settings.cache, settings.workers
    return CacheOptions(
        device_bytes=int(cache.gpu_memory_gb * GIGABYTE),
        memory_bytes=int(cache.l1_memory_gb * GIGABYTE),
        redis_bytes=int(cache.l2_redis_gb * GIGABYTE),
        repository=Path(cache.repository) if cache.repository else None,
        redis_url=cache.redis_url if cache.l2_redis_gb else None,
        memory_folder=Path(cache.memory_folder) if cache.memory_folder else None,
        device=_device(settings, slot),
        devices=tuple(_device(settings, each) for each in range(workers.processes)),
        threads=workers.torch_threads,
        warm_sizes=warm_sizes(settings),
        ttl_s=cache.ttl_minutes * 60.0,
        idle_s=cache.idle_minutes * 60.0,
        redis_ttl_s=cache.redis_ttl_hours * 3_600.0,
        redis_idle_s=cache.redis_idle_hours * 3_600.0,
        load_timeout_s=cache.load_timeout_s,
        reserved_share=cache.reserved_for_high,
        priorities={
            name: ModelPriority.named(entry.cache_priority)
            for name, entry in model_catalog(settings).models.items()
        },
    )


def _device(settings: Settings, slot: int) -> str:
    """Workers take the GPUs in turn. The default is whatever there is; what was asked for has to be there."""
    numbers = settings.workers.gpu_device_ids
    if not numbers:
        return CPU
    kind = "cuda" if settings.origin("workers.gpu_device_ids").explicit else "auto"
    return f"{kind}:{numbers[slot % len(numbers)]}"


def model_catalog(settings: Settings) -> ModelCatalog:
    """What the operator says of each model. Raises ConfigurationError."""
    return load_catalog(Path(settings.cache.catalog) if settings.cache.catalog else SHIPPED_CATALOG)


def schedule(settings: Settings) -> Schedule:
    """When models are to be there before they are asked for."""
    return Schedule(tuple(settings.cache.peaks), tuple(settings.workers.preload_models))


def route_names(settings: Settings) -> dict[str, None]:
    """The models of all routes, each once, in their order."""
    return dict.fromkeys(name for names in settings.routes.values() for name in names)


def member_options(settings: Settings, name: str | None = None) -> dict[str, Any]:
    """Of a consumer, `name` its static membership."""
    kafka = settings.kafka
    options = consumer_options(kafka.bootstrap_servers, kafka.group_id, kafka.client, kafka.consumer, name)
    return {**options, "logger": logging.getLogger("librdkafka")}


def poll_limits(settings: Settings) -> PollLimits:
    """How much of a budget and of what may be in flight a poll may take."""
    limits, budget = settings.limits, settings.latency.budget_ms / 1_000
    return PollLimits(
        limits.poll_max_claims,
        _POLL_WAIT,
        min(_LONGEST_COALESCE, 0.15 * budget),
        int(_HELD_SHARE * limits.bytes_in_flight),
    )


def admin_options(settings: Settings) -> dict[str, Any]:
    """Of a client that asks the cluster about topics."""
    return {**settings.kafka.client, "bootstrap.servers": settings.kafka.bootstrap_servers}


def sender_options(settings: Settings, queue_limit: int, slot: int) -> dict[str, Any]:
    """Of a producer for this way of delivery."""
    kafka = settings.kafka
    shared = (kafka.bootstrap_servers, queue_limit, kafka.client, kafka.producer)
    if kafka.delivery == "at_least_once":
        return producer_options(*shared)
    return transactional_options(*shared, f"{kafka.group_id}-{place(settings, slot)}")


def place(settings: Settings, slot: int) -> str:
    """A worker's name, the same after a restart."""
    return f"{settings.kafka.instance or socket.gethostname()}-{slot}"


def record_limits(settings: Settings, shape: TopicShape) -> tuple[int, int]:
    """Bytes of a result and of a dead letter that neither the topics nor the client refuse.

    Raises UsageError where no result, or not every dead letter, can be made so small.
    """
    own = largest_message(settings.kafka.client, settings.kafka.producer)
    if (most := min(shape.output_bytes, own)) < LEAST_RESULT:
        raise UsageError(
            f"{settings.kafka.topics.output!r} takes records of {most:,} bytes, and the shortest result may need "
            f"{LEAST_RESULT}: raise {_limit(shape.output_bytes, own)}"
        )
    if (letter := min(shape.dead_letter_bytes, own)) < LEAST_LETTER:
        raise UsageError(
            f"{settings.kafka.topics.dead_letters!r} takes records of {letter:,} bytes, and the shortest dead letter "
            f"may need {LEAST_LETTER:,}: raise {_limit(shape.dead_letter_bytes, own)}"
        )
    return most, letter


def _limit(topic: int, own: int) -> str:
    """What keeps records from being larger."""
    return "its max.message.bytes" if topic <= own else PRODUCER_LIMIT


def batching_rules(settings: Settings) -> BatchingRules:
    """Budget and limits of all lanes."""
    batching = settings.batching
    return BatchingRules(
        SizeLimits(batching.size_min, batching.size_max, batching.size_auto),
        settings.latency.budget_ms / 1_000,
        spare=batching.late == "spare",
        latest=batching.late_max_s,
        base=batching.size_base if batching.policy == "load" else None,
        head_starts={
            name: _HEAD_STARTS[entry.priority] * settings.latency.budget_ms / 1_000
            for name, entry in model_catalog(settings).models.items()
        },
    )


def warm_sizes(settings: Settings) -> tuple[int, ...]:
    """Batches that a model is tried with before anybody gets it."""
    batching = settings.batching
    return tuple(sorted({1, batching.size_min, batching.size_max}))
