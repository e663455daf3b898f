"""Which errors of the consumer's client end the worker, because they stay."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaError, Message

from stream.errors import FatalError, StopError

_HOPELESS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._FATAL,  # noqa: SLF001 - the client's only name for it
}
_TWIN = {KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID}


def refuse_what_stays(error: KafkaError, topic: str) -> None:
    """Raises FatalError for an error of the consumer of `topic` that no waiting mends."""
    # A fenced consumer reports _FATAL without the mark of a fatal error, and why in its text alone.
    if error.code() in _TWIN or "group.instance.id" in error.str():
        raise FatalError(
            f"another member of the group has this one's group.instance.id: {error.str()}; give every instance "
            "a kafka.instance of its own"
        )
    if error.fatal() or error.code() in _HOPELESS:
        raise FatalError(f"the consumer of {topic!r} cannot go on: {error.str()}")


def refuse_undecided(failed: Iterable[Message]) -> None:
    """Raises StopError for a partition that stands still until somebody sets its offset: `auto.offset.reset: error`."""
    for message in failed:
        error = message.error()
        if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - its public name
            raise StopError(
                f"partition {message.partition()} of {message.topic()!r} is not read: {error.str()}, and "
                "auto.offset.reset: error leaves it to a person where to begin. Set the group's offset with "
                "kafka-consumer-groups.sh --reset-offsets, then start again"
            )
