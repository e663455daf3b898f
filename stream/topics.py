"""Topics as the cluster has them: looked up, created."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from stream.errors import FatalError, RetryError

_TIMEOUT = 8.0


class UnreachableError(RetryError):
    """No broker answers at the given addresses."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to be; `replication` -1 means the cluster's default."""

    name: str
    partitions: int
    replication: int = -1
    config: Mapping[str, str] = field(default_factory=dict)


def describe(client: Mapping[str, Any], names: Sequence[str]) -> dict[str, int | None]:
    """Partitions of each topic, None where it does not exist. Raises UnreachableError within 10 s."""
    found = _metadata(_admin(client), client).topics
    return {name: len(found[name].partitions) if name in found else None for name in names}


def ensure_topics(client: Mapping[str, Any], topics: Sequence[TopicSpec]) -> list[str]:
    """Create what is missing; the names created. Raises UnreachableError, or FatalError that names the topic."""
    admin = _admin(client)
    existing = _metadata(admin, client).topics
    missing = [topic for topic in topics if topic.name not in existing]
    if not missing:
        return []
    wanted = [NewTopic(t.name, t.partitions, t.replication, config=dict(t.config)) for t in missing]
    for name, future in admin.create_topics(wanted, operation_timeout=_TIMEOUT).items():
        try:
            future.result(_TIMEOUT)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise FatalError(f"topic {name!r} could not be created: {error.args[0].str()}") from error
    return [topic.name for topic in missing]


def stage_topics(claims: str, scores: str, dead_letters: str, partitions: int, replication: int) -> list[TopicSpec]:
    """The three topics of a stage. Dead letters carry headers beside the whole record, so theirs may be larger."""
    larger = {"max.message.bytes": str(1_048_588 + 2 * 1_048_576)}
    return [
        TopicSpec(claims, partitions, replication),
        TopicSpec(scores, partitions, replication),
        TopicSpec(dead_letters, partitions, replication, larger),
    ]


def _admin(client: Mapping[str, Any]) -> AdminClient:
    return AdminClient({"log_level": 0, **client})


def _metadata(admin: AdminClient, client: Mapping[str, Any]) -> Any:
    try:
        return admin.list_topics(timeout=_TIMEOUT)
    except KafkaException as error:
        raise UnreachableError(
            f"no Kafka broker answers at {client['bootstrap.servers']} ({error.args[0].str()}); "
            "check the address, or start one with `claimstream broker`"
        ) from error
