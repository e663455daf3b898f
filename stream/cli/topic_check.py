"""A topic is looked up before anything is sent to it or read from it."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaException

from stream.cli.kafka_options import refused_config
from stream.errors import UsageError
from stream.topics import describe


def partitions_of(config: Mapping[str, str], topic: str) -> int:
    """How many partitions `topic` has.

    Raises UsageError when it does not exist, UnreachableError when no broker answers within 10 s.
    """
    try:
        partitions = describe(config, [topic])[topic]
    except KafkaException as error:
        raise refused_config(error, config) from error
    if partitions is None:
        raise UsageError(
            f"there is no topic {topic} on {config['bootstrap.servers']}:"
            f" create it with `claimstream topics create {topic} --bootstrap {config['bootstrap.servers']}`"
        )
    return partitions
