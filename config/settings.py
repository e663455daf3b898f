"""Every setting, its default and its meaning."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from cronsim import CronSim, CronSimError
from pydantic import Field, PrivateAttr, field_validator, model_validator

from config.kafka_settings import Kafka
from config.origins import Origin
from config.section import Options, Section, refusal, with_scheme, with_secrets_as_text

# Where it is not set, the consumer's own.
_MAX_POLL_INTERVAL_MS = 300_000
# Two names of one option.
_LINGER = ("linger.ms", "queue.buffering.max.ms")


class Schemas(Section):
    """How the bytes of a claim are read."""

    input: str = Field(
        default="claim_event", description="Reader schema: a shipped name or the path of an .avsc file."
    )
    id_field: str = Field(default="claim_id", description="Field that identifies a claim.")
    type_field: str = Field(default="claim_type", description="Field that routes a claim.")
    bare: str | None = Field(
        default=None,
        description="Path of the schema of values without framing; without it such values are refused.",
    )
    known_writers: list[str] = Field(
        default=[], description="Paths of older or newer writer schemas, for single-object framing."
    )
    registry_url: str | None = Field(
        default=None, description="URL of a Schema Registry, for Confluent framing."
    )
    _scheme = field_validator("registry_url")(with_scheme("http:// or https://"))
    registry: Options = Field(
        default={}, description="Options of the registry client, such as basic.auth.user.info."
    )

    @field_validator("registry")
    @classmethod
    def _quote_secrets(cls, options: Options) -> Options:
        return with_secrets_as_text(options)


class Latency(Section):
    """Time that a claim may take."""

    budget_ms: float = Field(
        default=200.0,
        gt=0,
        description="Deadline of a claim, in milliseconds after the timestamp of its Kafka record."
        " The default leaves room for models on a CPU.",
    )
    drain_timeout_s: float = Field(
        default=20.0,
        gt=0,
        description="Seconds to finish claims in flight when partitions move or the stage stops. Must be "
        "shorter than the consumer's max.poll.interval.ms (300 s): a member that drains longer is taken for dead.",
    )


class Batching(Section):
    """Size of micro-batches."""

    size_auto: bool = Field(
        default=True, description="Adapt the target size to load and deadline; otherwise it is size_max."
    )
    size_min: int = Field(default=32, ge=1, description="Smallest target size, in claims.")
    size_max: int = Field(default=512, ge=1, description="Largest target size, in claims.")
    policy: Literal["latency", "load"] = Field(
        default="latency",
        description="Sizes from measured speed, arrivals and deadlines, or size_base shrunk by the machine's load.",
    )
    size_base: int = Field(
        default=256, ge=1, description="Size that the policy `load` begins with, in claims."
    )
    late: Literal["spare", "fifo"] = Field(
        default="spare",
        description="Claims that can no longer be on time wait for spare room, so that they make no others late; or "
        "all are scored in the order of their deadlines.",
    )
    speeds_file: str | None = Field(
        default=None,
        description="File in which the speed of models on this machine is remembered; without it one in the user's "
        "cache folder.",
    )
    late_max_s: float = Field(
        default=2.0,
        gt=0,
        description="Seconds that a claim set aside waits for spare room before it goes first.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Batching:
        if self.size_min > self.size_max:
            raise refusal("size_min", f"size_min ({self.size_min}) is above size_max ({self.size_max})")
        return self


class Limits(Section):
    """What a worker holds at most; reading stops when one is reached."""

    claims_in_flight: int = Field(
        default=16_384, ge=1, description="Claims between poll and acknowledgement."
    )
    bytes_in_flight_mb: float = Field(
        default=256.0,
        ge=1,
        description="Megabytes (10^6 bytes) of keys, values and headers that those claims retain; as much again "
        "may wait for the broker, and a quarter of it (without headers) for room in a commit.",
    )
    poll_max_claims: int = Field(default=2_000, ge=1, le=100_000, description="Claims of one poll.")
    output_queue_claims: int = Field(
        default=4_096, ge=1, description="Scored claims that may wait to be produced."
    )
    record_max_bytes: int = Field(
        default=1_000_000, ge=1, description="Bytes of a value; a larger record becomes a dead letter."
    )
    dead_letter_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Part of the records finished last that may become dead letters; the stage stops when more do, "
        "instead of emptying the topic into them. 1 lets all through.",
    )
    dead_letter_window: int = Field(
        default=1_000,
        ge=1,
        le=1_000_000,
        description="Records, of each worker, over which dead_letter_share counts; fewer stop nothing.",
    )
    step_timeout_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds after which a forward, or another step of a worker, counts as hung: the worker ends and "
        "is started again. At least twice latency.drain_timeout_s is waited.",
    )

    @property
    def bytes_in_flight(self) -> int:
        """The same as `bytes_in_flight_mb`, in bytes."""
        return int(self.bytes_in_flight_mb * 1_000_000)


class Cache(Section):
    """Where models come from and are kept. RAM and Redis are one pool for all workers of an instance."""

    l1_memory_gb: float = Field(default=2.0, gt=0, description="Gigabytes of RAM for models.")
    l2_redis_gb: float = Field(
        default=8.0, ge=0, description="Gigabytes of Redis for models; 0 leaves it out."
    )
    gpu_memory_gb: float = Field(
        default=4.0,
        gt=0,
        description="Gigabytes of a device for models; the workers on a GPU divide them, on a CPU each has as many, "
        "but no more than there are of RAM, whose pages they are.",
    )
    ttl_minutes: float = Field(
        default=30.0, gt=0, description="Minutes that a model stays in RAM unless it is in demand."
    )
    idle_minutes: float = Field(
        default=10.0, gt=0, description="Minutes without use after which a model leaves device and RAM."
    )
    repository: str | None = Field(
        default=None,
        description="Folder of published versions; what ships with claimstream is always there, too.",
    )
    catalog: str | None = Field(
        default=None,
        description="Path of an ml_models.yaml with priorities; it replaces the shipped one, all of it.",
    )
    redis_url: str | None = Field(
        default="redis://127.0.0.1:6379/0",
        description="Redis that instances share, as redis://, rediss:// or unix://; empty leaves it out.",
    )
    _scheme = field_validator("redis_url")(with_scheme("redis://, rediss:// or unix://"))
    redis_ttl_hours: float = Field(default=4.0, gt=0, description="Hours that a model stays in Redis.")
    redis_idle_hours: float = Field(
        default=1.0, gt=0, description="Hours without use after which a model leaves Redis."
    )
    memory_folder: str | None = Field(
        default=None,
        description="Folder of the RAM pool; without it shared memory, or temporary files where that is too small.",
    )
    reserved_for_high: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Part of a device's budget that only models of priority high and critical may use.",
    )
    load_timeout_s: float = Field(default=60.0, gt=0, description="Seconds that one load may take.")
    peaks: list[str] = Field(
        default=[],
        description="Cron expressions of load peaks, in local time; models are made ready 15 minutes before each.",
    )

    @field_validator("peaks")
    @classmethod
    def _cron(cls, peaks: list[str]) -> list[str]:
        for expression in peaks:
            try:
                CronSim(expression, datetime(2026, 1, 1))  # noqa: DTZ001 - only the text is looked at
            except CronSimError as error:
                detail = f"{expression!r} is no cron expression ({error}); such as '0 9 * * 1-5'"
                raise refusal(None, detail) from error
        return peaks


class Workers(Section):
    """Processes and what they compute with."""

    processes: int = Field(
        default=4, ge=1, le=256, description="Worker processes, each a member of the consumer group."
    )
    gpu_device_ids: list[int] = Field(
        default=[0, 1],
        description="GPUs, which the workers take in turn; empty for the CPU. One that was set and is not there is an "
        "error; of the default, whatever is there is taken.",
    )

    @field_validator("gpu_device_ids")
    @classmethod
    def _count_from_zero(cls, numbers: list[int]) -> list[int]:
        if any(number < 0 for number in numbers):
            raise refusal(None, f"{numbers}: GPUs are numbered from 0; an empty list stands for the CPU")
        return numbers

    async_inference: bool = Field(
        default=True, description="Let the next micro-batch be gathered while one is scored. No effect yet."
    )
    quantization: bool = Field(
        default=True, description="Use a model's quantized variant where it has one. No effect yet."
    )
    mixed_precision: bool = Field(
        default=True, description="Half precision where a device gains by it. No effect yet."
    )
    preload_models: list[str] = Field(
        default=["claims_filter_v2.1", "fraud_detector_v1.0"],
        description="Models that are loaded before a worker joins the group, beside those of the routes and those of "
        "priority high or critical in the catalog.",
    )
    torch_threads: int = Field(default=1, ge=1, description="Threads of one forward pass on a CPU.")


class Http(Section):
    """The operator's endpoints."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    token: str | None = Field(
        default=None,
        min_length=8,
        description="Bearer token of the endpoints that change something; without it none does.",
    )

    @field_validator("token")
    @classmethod
    def _travels_in_a_header(cls, token: str | None) -> str | None:
        if token is not None and not (token.isascii() and token.isprintable() and token == token.strip()):
            raise refusal(None, "a header cannot carry it: printable ASCII, no space at either end")
        return token


class Logging(Section):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severity that is logged."
    )
    format: Literal["text", "json"] = Field(
        default="text",
        description="Lines for people; or one JSON object a line with timestamp (ISO 8601, UTC), level, logger, "
        "process (its number), message and, after an error, exception.",
    )


class Settings(Section):
    """The whole configuration; `origins` tells where each value comes from."""

    kafka: Kafka = Kafka()
    schemas: Schemas = Schemas()
    routes: dict[str, list[str]] = Field(
        default={"*": ["claims_filter_v2.1"]},
        description="Models that score each claim type, in this order; `*` stands for every other type.",
    )
    latency: Latency = Latency()
    batching: Batching = Batching()
    limits: Limits = Limits()
    cache: Cache = Cache()
    workers: Workers = Workers()
    http: Http = Http()
    logging: Logging = Logging()

    @field_validator("routes")
    @classmethod
    def _lead_somewhere(cls, routes: dict[str, list[str]]) -> dict[str, list[str]]:
        if not routes:
            raise refusal(None, "no route at all; give one, such as {'*': [claims_filter_v2.1]}")
        for claim_type, models in routes.items():
            if not models:
                raise refusal(claim_type, "names no model; give it one or leave it out")
        return routes

    @model_validator(mode="after")
    def _drain_within_membership(self) -> Settings:
        """A member that drains for longer than its group waits for it is taken for dead, and its claims come twice."""
        options = {**self.kafka.client, **self.kafka.consumer}
        patience = _number(options.get("max.poll.interval.ms", _MAX_POLL_INTERVAL_MS)) / 1_000
        if self.latency.drain_timeout_s >= patience:
            detail = (
                f"{self.latency.drain_timeout_s:g} s, but a member that drains for max.poll.interval.ms "
                f"({patience:g} s) is taken for dead; lower this or raise kafka.consumer.max.poll.interval.ms"
            )
            raise refusal("latency.drain_timeout_s", detail)
        return self

    @model_validator(mode="after")
    def _linger_within_budget(self) -> Settings:
        """Where a commit does not hasten them, results wait in the client for as long as it was told to let them."""
        options, budget = {**self.kafka.client, **self.kafka.producer}, self.latency.budget_ms
        for option in options.keys() & _LINGER:
            if self.kafka.delivery == "at_least_once" and _number(options[option]) >= budget:
                section = "producer" if option in self.kafka.producer else "client"
                detail = f"{options[option]} ms, so every claim is late: latency.budget_ms is {budget:g}"
                raise refusal(f"kafka.{section}.{option}", detail)
        return self

    _given: dict[str, Origin] = PrivateAttr(default_factory=dict)
    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """The YAML file among their sources."""
        return self._file

    @property
    def origins(self) -> dict[str, Origin]:
        """Origin of every value by its dotted name; options passed through have their own."""
        return {name: self.origin(name) for name, _ in values(self)}

    def origin(self, name: str) -> Origin:
        """Origin of one value by its dotted name."""
        option_map = ".".join(split_name(name)[:-1]) if is_option(name) else name
        return self._given.get(name) or self._given.get(option_map) or Origin()

    def with_origins(self, given: Mapping[str, Origin], file: Path | None = None) -> Settings:
        """The same settings; `given` has the origin of what is not a default, `file` was read."""
        copy = self.model_copy()
        copy._given, copy._file = dict(given), file  # noqa: SLF001 - a copy of its own class
        return copy


def _number(option: str | float) -> float:
    """An option's value; not a number where it is none, which the client says itself."""
    try:
        return float(option)
    except ValueError:
        return math.nan


OPTION_MAPS = ("kafka.client", "kafka.consumer", "kafka.producer", "schemas.registry")


def is_option(name: str) -> bool:
    """Whether a dotted name is one of the options passed through to a client."""
    return any(name.startswith(f"{option_map}.") for option_map in OPTION_MAPS)


def split_name(name: str) -> list[str]:
    """Keys of a dotted name from the outside in; an option's own dots belong to its last key."""
    return name.split(".", 2) if is_option(name) else name.split(".")


def leaves(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every setting."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def values(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every setting; of a map of options, those that it holds."""
    for name, value in leaves(settings):
        if name in OPTION_MAPS and value:
            yield from ((f"{name}.{option}", item) for option, item in value.items())
        else:
            yield name, value
