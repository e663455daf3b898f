"""`claimstream topics`."""

from __future__ import annotations

import click

from stream.cli.kafka_options import client_config, kafka_options
from stream.cli.output import emit_json
from stream.topics import TopicSpec, ensure_topics, stage_topics


@click.group()
def command() -> None:
    """Create topics."""


@command.command()
@kafka_options
@click.argument("names", nargs=-1)
@click.option("--partitions", type=click.IntRange(1), default=4, show_default=True)
@click.option("--replication", type=int, default=-1, help="Replicas; the cluster's default otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def create(
    bootstrap: str,
    client_options: tuple[str, ...],
    names: tuple[str, ...],
    partitions: int,
    replication: int,
    *,
    as_json: bool,
) -> None:
    """Create the topics of a stage, or those named; what exists is left as it is.

    \b
    Example:
      claimstream topics create --bootstrap 127.0.0.1:9092 --partitions 4
    """
    defaults = stage_topics("claims", "claim-scores", "claim-dead-letters", partitions, replication)
    topics = [TopicSpec(name, partitions, replication) for name in names] or defaults
    created = ensure_topics(client_config(bootstrap, client_options), topics)
    existing = [topic.name for topic in topics if topic.name not in created]
    if as_json:
        emit_json({"created": created, "existing": existing})
        return
    for name in created:
        click.echo(f"created {name}")
    for name in existing:
        click.echo(f"{name} exists")
