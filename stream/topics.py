"""Topics as the cluster has them: looked up, created."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, ClusterMetadata, ConfigResource, NewTopic

from stream.errors import FatalError, RetryError, UsageError

log = logging.getLogger(__name__)

# Kafka's own default, and how much more a dead letter may carry: headers and a wrapped record.
MAX_MESSAGE_BYTES = 1_048_588
LONGEST_TRACE = 512
# Of a result: its header with that trace, and its share of the batch around it. Then the shortest result that there is.
RECORD_OVERHEAD = 128 + LONGEST_TRACE
LEAST_RESULT = RECORD_OVERHEAD + 64
_DEAD_LETTER_ROOM = 2 * 1_048_576
_REPLICAS = 3

_ANSWER_SECONDS = 5.0
_LONGEST_SLICE = 1.0
_VISIBLE_SECONDS = 10.0
# Nor is there a topic of a name that no topic can have.
_NO_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION)
_LOOK_AGAIN_SECONDS = 0.05
_NOT_REACHED = (
    KafkaError._TRANSPORT,  # noqa: SLF001 - these are the public names of librdkafka's local errors
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
)


class UnreachableError(RetryError):
    """No broker answers at the given addresses."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to be; `replication` -1 means the cluster's default."""

    name: str
    partitions: int
    replication: int = -1
    config: Mapping[str, str] = field(default_factory=dict)


def stage_topics(
    claims: str, scores: str, dead_letters: str, partitions: int, replication: int
) -> list[TopicSpec]:
    """The three topics of a stage; dead letters may be 2 MiB larger than Kafka's default lets a record be."""
    return [
        TopicSpec(claims, partitions, replication),
        TopicSpec(scores, partitions, replication),
        dead_letter_topic(dead_letters, partitions, replication),
    ]


def dead_letter_topic(name: str, partitions: int, replication: int) -> TopicSpec:
    """A topic that takes whole records and the headers that say what was wrong with them."""
    limit = MAX_MESSAGE_BYTES + _DEAD_LETTER_ROOM
    return TopicSpec(name, partitions, replication, {"max.message.bytes": str(limit)})


def creation_command(
    bootstrap: str,
    names: Sequence[str],
    file: str | None,
    partitions: int | None,
    replicas: int | None,
    *more: str,
) -> str:
    """What to type for topics `names` to be; `file` has the settings, `more` is written before the names."""
    options = ["--bootstrap", bootstrap]
    if file is not None:
        options += ["--config", file]
    if partitions is not None:
        options += ["--partitions", str(partitions)]
    if replicas is not None:
        options += ["--replication", str(replicas)]
    return shlex.join(["claimstream", "topics", "create", *options, *more, *names])


def describe(client: Mapping[str, Any], names: Sequence[str]) -> dict[str, int | None]:
    """Partitions of each topic, None where it does not exist. Raises what `partitions` raises."""
    found = partitions(client)
    return {name: found.get(name) for name in names}


def partitions(client: Mapping[str, Any]) -> dict[str, int]:
    """Partitions of every topic that this user may describe: Kafka leaves others out.

    Raises UnreachableError within 10 s when no broker answers, FatalError when the cluster refuses, and
    KafkaException when librdkafka refuses the options.
    """
    return {name: len(topic.partitions) for name, topic in _Cluster(client).metadata().topics.items()}


def refuse_hidden(client: Mapping[str, Any], names: Sequence[str]) -> None:
    """Of topics that the list of all lacks. Raises UsageError for those that may be there and this user may not
    describe, and what `partitions` raises.
    """
    _Cluster(client).refuse_hidden(names)


def replicas_of_new(client: Mapping[str, Any], missing: Sequence[str]) -> int | None:
    """Replicas to create topics with that the list of all lacks; None for the cluster's own default.

    Raises UsageError for those that may be there and this user may not describe, and what `partitions` raises.
    """
    cluster = _Cluster(client)
    cluster.refuse_hidden(missing)
    return _REPLICAS if len(cluster.metadata().brokers) >= _REPLICAS else None


def largest_records(client: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
    """Bytes that a record of each topic may have; Kafka's default where the cluster does not let this be read."""
    return _Cluster(client).largest_records(names)


def not_writable(client: Mapping[str, Any], names: Iterable[str]) -> set[str]:
    """Topics among these that this user may not write to, as far as the cluster says. Raises FatalError."""
    return _Cluster(client).not_writable(names)


def identity_of(client: Mapping[str, Any], name: str) -> Callable[[float], str | None]:
    """Asks what tells a topic from others of its name; None where there is none.

    Raises KafkaException where nobody answers within so many seconds.
    """
    admin = AdminClient({"log_level": 0, **client})

    def ask(seconds: float) -> str | None:
        deadline, part = time.monotonic() + seconds, min(seconds / 3, _LONGEST_SLICE)
        while True:
            try:
                return _identity(admin, name, part)
            except KafkaException as error:
                if _cause(error).code() not in _NOT_REACHED or time.monotonic() + 2 * part > deadline:
                    raise
            # It waits for the controller that it knows of, also where that broker is gone. News of the cluster name one
            # that is there.
            admin.list_topics(timeout=part)

    return ask


def _identity(admin: AdminClient, name: str, seconds: float) -> str | None:
    answer = admin.describe_topics(TopicCollection([name]), request_timeout=seconds)[name]
    try:
        return str(answer.result().topic_id)
    except KafkaException as error:
        if _cause(error).code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise


def ensure_topics(client: Mapping[str, Any], topics: Sequence[TopicSpec]) -> list[str]:
    """Create what is missing and wait until it can be used; the names created.

    Raises what `describe` raises, and UsageError or FatalError that names the topic.
    """
    cluster = _Cluster(client)
    existing = cluster.metadata().topics
    missing = [topic for topic in topics if topic.name not in existing]
    created = cluster.create(missing) if missing else []
    cluster.await_leaders(created)
    return created


class _Heard:
    """The last error that a client told of; its own object, so that the client does not hold itself."""

    def __init__(self) -> None:
        self.error = ""

    def note(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self.error = error.str()


class _Cluster:
    """The cluster behind some client options."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._addresses = client["bootstrap.servers"]
        self._heard = _Heard()
        self._admin = AdminClient({"log_level": 0, **client, "error_cb": self._heard.note})

    def metadata(self) -> ClusterMetadata:
        """All topics and brokers."""
        try:
            return self._admin.list_topics(timeout=_ANSWER_SECONDS)
        except KafkaException as error:
            self._admin.poll(0)
            raise self._explained(error, f"the topics at {self._addresses} could not be listed") from error

    def refuse_hidden(self, names: Sequence[str]) -> None:
        """Asked for by its name, a topic is not left out. Unlike a producer's look-up this creates none."""
        asked = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=_ANSWER_SECONDS)
        hidden = [name for name, answer in asked.items() if self._is_hidden(name, answer)]
        if hidden:
            raise UsageError(
                f"this user may not describe {', '.join(map(repr, hidden))} at {self._addresses}, which may be there "
                "or not: grant it Describe on it (Read and Write bring that along), see docs/security.md"
            )

    def _is_hidden(self, name: str, answer: Any) -> bool:
        try:
            answer.result()
        except KafkaException as error:
            code = _cause(error).code()
            if code not in (KafkaError.TOPIC_AUTHORIZATION_FAILED, *_NO_TOPIC):
                raise self._explained(error, f"topic {name!r} could not be looked up") from error
            return bool(code == KafkaError.TOPIC_AUTHORIZATION_FAILED)
        return False

    def not_writable(self, names: Iterable[str]) -> set[str]:
        asked = self._admin.describe_topics(
            TopicCollection([*names]), include_authorized_operations=True, request_timeout=_ANSWER_SECONDS
        )
        return {name for name, answer in asked.items() if not self._may_write(name, answer)}

    def _may_write(self, name: str, answer: Any) -> bool:
        if self._is_hidden(name, answer):
            return False
        if answer.exception() is not None:  # It is gone meanwhile.
            return True
        operations = answer.result().authorized_operations
        return operations is None or AclOperation.WRITE in operations

    def largest_records(self, names: Sequence[str]) -> dict[str, int]:
        asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        found = {}
        for place, answer in self._admin.describe_configs(asked, request_timeout=_ANSWER_SECONDS).items():
            try:
                found[place.name] = int(answer.result(_ANSWER_SECONDS)["max.message.bytes"].value)
            except (KafkaException, TimeoutError) as error:
                log.warning(
                    "%s: its max.message.bytes cannot be read (%s), %d is assumed",
                    place.name,
                    error,
                    MAX_MESSAGE_BYTES,
                )
                found[place.name] = MAX_MESSAGE_BYTES
        return found

    def create(self, topics: Sequence[TopicSpec]) -> list[str]:
        """The names of those that did not appear meanwhile by another hand."""
        wanted = [NewTopic(t.name, t.partitions, t.replication, config=dict(t.config)) for t in topics]
        # The broker itself answers when the time for the operation is over; without one the request ends.
        answers = self._admin.create_topics(
            wanted, operation_timeout=_ANSWER_SECONDS, request_timeout=2 * _ANSWER_SECONDS
        )
        return [topic.name for topic in topics if self._is_created(topic, answers[topic.name])]

    def await_leaders(self, names: Sequence[str]) -> None:
        """Brokers learn of a new topic shortly after it was created. Raises FatalError when they do not."""
        deadline = time.monotonic() + _VISIBLE_SECONDS
        while names and not self._have_leaders(names):
            if time.monotonic() > deadline:
                raise FatalError(
                    f"no leader was elected within {_VISIBLE_SECONDS:.0f} s for {', '.join(names)}"
                )
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _have_leaders(self, names: Sequence[str]) -> bool:
        found = self.metadata().topics
        return all(
            name in found
            and found[name].partitions
            and all(p.leader >= 0 for p in found[name].partitions.values())
            for name in names
        )

    def _is_created(self, topic: TopicSpec, answer: Any) -> bool:
        try:
            answer.result()
        except KafkaException as error:
            if _cause(error).code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise self._explained(error, f"topic {topic.name!r} could not be created") from error
        return True

    def _explained(self, error: KafkaException, what: str) -> Exception:
        code, reason = _cause(error).code(), _cause(error).str()
        if code in _NOT_REACHED:
            return UnreachableError(
                f"no Kafka broker answers at {self._addresses} ({self._heard.error or reason}); "
                "check the address, or start one with `claimstream broker`"
            )
        if code in (KafkaError.TOPIC_EXCEPTION, KafkaError.INVALID_REPLICATION_FACTOR):
            return UsageError(f"{what}: {reason}")
        return FatalError(f"{what}: {reason}")


def _cause(error: KafkaException) -> KafkaError:
    cause = error.args[0]
    if not isinstance(cause, KafkaError):
        raise TypeError(f"a KafkaException without a KafkaError: {error}")
    return cause
