"""A topic is looked up before anything is sent to it or read from it."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaException

from config import Settings
from stream.cli.kafka_options import configured_client, refused_config
from stream.errors import UsageError
from stream.topics import creation_command, partitions, replicas_of_new


def partitions_of(config: Mapping[str, str], topic: str, settings: Settings) -> int:
    """How many partitions `topic` has. `config`: the client's options, made of `settings` and the command's own.

    Raises UsageError when it does not exist, or this user may not describe it, UnreachableError when no broker answers
    within 10 s.
    """
    try:
        found = partitions(config)
    except KafkaException as error:
        raise refused_config(error, config) from error
    if topic not in found:
        command = _creation(config, topic, settings, found, replicas_of_new(config, [topic]))
        raise UsageError(
            f"there is no topic {topic} on {config['bootstrap.servers']}:"
            f" create it with `{command}`{_besides(config, settings)}"
        )
    return found[topic]


def _creation(
    config: Mapping[str, str],
    topic: str,
    settings: Settings,
    found: Mapping[str, int],
    replicas: int | None,
) -> str:
    """With as many partitions as the stage's topics have that are there."""
    names = settings.kafka.topics
    known = (found.get(name) for name in (names.input, names.output, names.dead_letters))
    file = None if settings.file is None else str(settings.file)
    # Only by that name is it given the room of dead letters.
    renamed = settings.origin("kafka.topics.dead_letters").text == "command line"
    more = ("--dead-letters", topic) if renamed and topic == names.dead_letters else ()
    many = next(filter(None, known), None)
    return creation_command(config["bootstrap.servers"], [topic], file, many, replicas, *more)


def _besides(config: Mapping[str, str], settings: Settings) -> str:
    """Options of the command's own, which may be secret, are not repeated."""
    shared = configured_client(settings.kafka.client, config["bootstrap.servers"], ())
    return "" if shared == config else " and the same --client options"
