"""`claimstream topics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from confluent_kafka import KafkaException

from config import Settings
from stream.cli.configuration import config_option, effective
from stream.cli.kafka_options import client_config, refused_config
from stream.cli.output import emit_json
from stream.clock import Clock, SystemClock
from stream.topics import (
    TopicSpec,
    UnreachableError,
    dead_letter_topic,
    describe,
    ensure_topics,
    stage_topics,
)


@click.group()
def command() -> None:
    """Create topics.

    \b
    Example:
      claimstream topics create --partitions 4
    """


@command.command()
@config_option
@click.argument("names", nargs=-1)
@click.option("--bootstrap", metavar="HOST:PORT", help="Brokers; over kafka.bootstrap_servers.")
@click.option(
    "--client", "client_options", multiple=True, metavar="KEY=VALUE", help="A librdkafka option; repeatable."
)
@click.option("--input", "claims", metavar="NAME", help="Topic of claims; over kafka.topics.input.")
@click.option("--output", "scores", metavar="NAME", help="Topic of results; over kafka.topics.output.")
@click.option("--dead-letters", metavar="NAME", help="Topic of dead letters; over kafka.topics.dead_letters.")
@click.option(
    "--partitions", type=click.IntRange(1), default=4, show_default=True, help="Partitions of each topic."
)
@click.option(
    "--replication", type=click.IntRange(1, 32_767), help="Replicas; the cluster's default otherwise."
)
@click.option(
    "--wait",
    "patience",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    metavar="S",
    help="Seconds for a broker that is still starting.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def create(
    config_file: Path | None,
    names: tuple[str, ...],
    bootstrap: str | None,
    client_options: tuple[str, ...],
    claims: str | None,
    scores: str | None,
    dead_letters: str | None,
    partitions: int,
    replication: int | None,
    patience: float,
    *,
    as_json: bool,
) -> None:
    """Create the three topics of the stage, or only those named; what exists is left as it is.

    \b
    Examples:
      claimstream topics create --partitions 4
      claimstream topics create claims-test --bootstrap 127.0.0.1:9092
    """
    settings = effective(
        config_file,
        {
            "kafka.bootstrap_servers": bootstrap,
            "kafka.topics.input": claims,
            "kafka.topics.output": scores,
            "kafka.topics.dead_letters": dead_letters,
        },
    )
    client = {
        **settings.kafka.client,
        **client_config(settings.kafka.bootstrap_servers, client_options),
    }
    _create(client, _wanted(settings, names, partitions, replication or -1), patience, as_json=as_json)


def _create(
    client: Mapping[str, Any], topics: Sequence[TopicSpec], patience: float, *, as_json: bool
) -> None:
    try:
        created = _ensured(client, topics, patience, SystemClock())
        found = describe(client, [topic.name for topic in topics])
    except KafkaException as error:
        raise refused_config(error, {key: str(value) for key, value in client.items()}) from error
    if as_json:
        emit_json({"created": created, "existing": [name for name in found if name not in created]})
        return
    for topic in topics:
        click.echo(_said(topic, found[topic.name], topic.name in created))


def _ensured(
    client: Mapping[str, Any], topics: Sequence[TopicSpec], patience: float, clock: Clock
) -> list[str]:
    """`ensure_topics`, again and again while no broker answers; each try takes its seconds."""
    deadline, told = clock.now() + patience, False
    while True:
        try:
            return ensure_topics(client, topics)
        except UnreachableError as error:
            if clock.now() >= deadline:
                raise
            if not told:
                click.echo(f"{error}; waiting for it, at most {patience:.0f} s", err=True)
                told = True


def _wanted(settings: Settings, names: tuple[str, ...], partitions: int, replication: int) -> list[TopicSpec]:
    topics = settings.kafka.topics
    if not names:
        return stage_topics(topics.input, topics.output, topics.dead_letters, partitions, replication)
    return [
        dead_letter_topic(name, partitions, replication)
        if name == topics.dead_letters
        else TopicSpec(name, partitions, replication)
        for name in dict.fromkeys(names)
    ]


def _said(topic: TopicSpec, partitions: int | None, created: bool) -> str:
    if created:
        return f"created {topic.name} with {topic.partitions} partitions"
    different = "" if partitions == topic.partitions else f", not {topic.partitions}; left as it is"
    return f"{topic.name} exists with {partitions} partitions{different}"
