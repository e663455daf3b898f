"""Services and data for the tests: a Kafka, topics, a Schema Registry, claims."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import settings

from stream.errors import ClaimstreamError
from stream.topics import TopicSpec, ensure_topics

# How long an example takes says more about the machine than about the code.
settings.register_profile("claimstream", deadline=None)
settings.load_profile("claimstream")


class Kafka(Protocol):
    """A running cluster."""

    @property
    def bootstrap(self) -> str: ...


class SchemaRegistry(Protocol):
    """A running registry."""

    @property
    def url(self) -> str: ...


class MakeTopic(Protocol):
    """Creates a fresh topic and gives its name."""

    def __call__(self, partitions: int = 1, *, config: Mapping[str, str] | None = None) -> str: ...


@dataclass(frozen=True, slots=True)
class NamedKafka:
    """The cluster that CLAIMSTREAM_BOOTSTRAP names."""

    bootstrap: str


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """The cluster named in CLAIMSTREAM_BOOTSTRAP, else one embedded broker for the whole session."""
    if named := os.environ.get("CLAIMSTREAM_BOOTSTRAP"):
        yield NamedKafka(named)
        return
    try:
        from stream.embedded import EmbeddedKafka

        embedded = EmbeddedKafka().__enter__()
    except (ClaimstreamError, ModuleNotFoundError) as error:
        missing(f"no Kafka: {error}")
    try:
        yield embedded
    finally:
        embedded.stop()


@pytest.fixture
def topic(kafka: Kafka) -> Iterator[MakeTopic]:
    """A factory of topics that no other test knows; a cluster that outlives the session loses them again."""
    client = {"bootstrap.servers": kafka.bootstrap}
    made: list[str] = []
    numbers, run = itertools.count(), uuid.uuid4().hex[:8]

    def make(partitions: int = 1, *, config: Mapping[str, str] | None = None) -> str:
        name = f"test-{run}-{next(numbers)}"
        made.extend(ensure_topics(client, [TopicSpec(name, partitions, config=config or {})]))
        return name

    yield make
    if made and isinstance(kafka, NamedKafka):
        for removal in AdminClient(client).delete_topics(made).values():
            removal.result(10.0)


@pytest.fixture(scope="session")
def schema_registry() -> Iterator[SchemaRegistry]:
    """A real Schema Registry that speaks Confluent's API."""
    try:
        from stream.embedded import EmbeddedRegistry

        registry = EmbeddedRegistry().__enter__()
    except (ClaimstreamError, ModuleNotFoundError) as error:
        missing(f"no Schema Registry: {error}")
    try:
        yield registry
    finally:
        registry.stop()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of claims data that is no part of the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CLAIMSTREAM_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no claims data in {folder}; CLAIMSTREAM_DATA names another folder")
    return folder


def missing(reason: str) -> NoReturn:
    """A laptop without a service skips its tests; the place that vouches for the project must not."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of the Redis in CLAIMSTREAM_REDIS, else of an embedded one for the whole session."""
    if named := os.environ.get("CLAIMSTREAM_REDIS"):
        yield named
        return
    try:
        from stream.embedded import EmbeddedRedis

        embedded = EmbeddedRedis().__enter__()
    except (ClaimstreamError, ModuleNotFoundError) as error:
        missing(f"no Redis: {error}")
    try:
        yield embedded.url
    finally:
        embedded.stop()


@pytest.fixture
def redis_url(redis_server: str) -> Iterator[str]:
    """The same, without anything of ours, before the test and after it; what else is there is left alone."""
    import redis

    with redis.Redis.from_url(redis_server) as client:
        for moment in ("before", "after"):
            if ours := list(client.scan_iter("claimstream:models:*")):
                client.unlink(*ours)
            if moment == "before":
                yield redis_server
