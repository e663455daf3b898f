"""`claimstream tail`: prints scores as they arrive."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

import schemas
from config.errors import printable
from stream.cli.configuration import effective
from stream.cli.kafka_options import configured_client, kafka_options, refused_config
from stream.cli.score_filter import ScoreFilter
from stream.cli.topic_check import partitions_of
from stream.clock import Clock, SystemClock
from stream.codec import Decoder, plain_rows
from stream.errors import ClaimstreamError

POLL_RECORDS = 500
POLL_SECONDS = 0.2
SHARE = click.FloatRange(0, 1)
COLUMNS = (("scored", 12), ("claim", 22), ("type", 13), ("score", 5), ("decision", 8), ("model", 14))

EXAMPLES = """
\b
Examples:
  claimstream tail --from-beginning --count 10
  claimstream tail --json --timeout 30
  claimstream tail --min-score 0.9 --type professional --decision review
"""


@click.command(name="tail", epilog=EXAMPLES)
@click.option("--topic", metavar="NAME", help="Topic of results; over kafka.topics.output.")
@click.option("--from-beginning", is_flag=True, help="Start with the oldest score, not with the next one.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N scored claims.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="S", help="End when S seconds bring nothing."
)
@click.option("--min-score", type=SHARE, metavar="S", help="Only claims that a model scored S or higher.")
@click.option("--max-score", type=SHARE, metavar="S", help="Only claims that a model scored S or lower.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only claims of this type; repeatable.")
@click.option("--outcome", "outcomes", multiple=True, help="Only results of this outcome; repeatable.")
@click.option(
    "--decision", "decisions", multiple=True, help="Only claims so decided, e.g. review; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a claim and line.")
@kafka_options
def command(
    topic: str | None,
    from_beginning: bool,
    count: int | None,
    timeout: float | None,
    min_score: float | None,
    max_score: float | None,
    types: tuple[str, ...],
    outcomes: tuple[str, ...],
    decisions: tuple[str, ...],
    as_json: bool,
    config_file: Path | None,
    bootstrap: str | None,
    client_options: tuple[str, ...],
) -> None:
    """Print scores from a topic, one a line, until Ctrl-C.

    Filters are joined by "and", the values of one by "or"; --count counts what they let through.
    """
    wanted = ScoreFilter(min_score, max_score, types, outcomes, decisions)
    settings = effective(config_file, {"kafka.bootstrap_servers": bootstrap, "kafka.topics.output": topic})
    kafka = settings.kafka
    config = configured_client(kafka.client, kafka.bootstrap_servers, client_options)
    topic = kafka.topics.output
    partitions = partitions_of(config, topic, settings)
    consumer = _consumer(config, topic, partitions, OFFSET_BEGINNING if from_beginning else OFFSET_END)
    try:
        if not as_json:
            click.echo(header())
        for score in scores(consumer, wanted, count, timeout, SystemClock()):
            click.echo(as_line(score) if not as_json else json.dumps(score, default=_plain))
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # The reader (`head`, say) has had enough; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        consumer.close()


def scores(
    consumer: Consumer, wanted: ScoreFilter, count: int | None, timeout: float | None, clock: Clock
) -> Iterator[dict[str, Any]]:
    """Decoded records that are wanted, until `count` of them came or `timeout` seconds brought no record at all."""
    decoder = Decoder(schemas.load("claim_score"))
    quiet_since = clock.now()
    seen = 0
    while timeout is None or clock.now() - quiet_since < timeout:
        messages = _messages(consumer)
        if messages:
            quiet_since = clock.now()
        for record in decoded(decoder, messages, wanted):
            yield record
            seen += 1
            if seen == count:
                return


def _messages(consumer: Consumer) -> list[Message]:
    """What is there, once something is; `consume` alone would wait for a full batch."""
    first = consumer.poll(POLL_SECONDS)
    if first is None:
        return []
    return [message for message in [first, *consumer.consume(POLL_RECORDS, 0)] if _sound(message)]


def decoded(decoder: Decoder, messages: list[Message], wanted: ScoreFilter) -> Iterator[dict[str, Any]]:
    """Wanted records of the messages that decode; the first of those that do not is named on stderr."""
    if not messages:
        return
    result = decoder.decode([message.value() for message in messages])
    if result.failures:
        message = messages[result.failures[0].row]
        more = f" and {len(result.failures) - 1} more" if len(result.failures) > 1 else ""
        place = f"{message.topic()}[{message.partition()}]@{message.offset()}{more}"
        click.echo(printable(f"not a score: {place}: {result.failures[0].error}"), err=True)
    yield from plain_rows(wanted.of(result.claims))


def header() -> str:
    return " ".join(f"{name:<{width}}" for name, width in COLUMNS).rstrip()


def as_line(record: dict[str, Any]) -> str:
    """At most 80 columns, one line for each model of the claim."""
    lines = []
    for score in record["scores"]:
        cells = (
            _time_of_day(record["scored_at"]),
            record["claim_id"],
            record["claim_type"],
            f"{score['score']:.3f}",
            score["decision"],
            f"{score['model']} {score['version']}",
        )
        fitted = (_fit(printable(str(cell)), width) for cell, (_, width) in zip(cells, COLUMNS, strict=True))
        lines.append(" ".join(fitted).rstrip())
    return "\n".join(lines)


def _time_of_day(at: datetime | int) -> str:
    return f"{at:%H:%M:%S.%f}"[:12] if isinstance(at, datetime) else str(at)


def _fit(text: str, width: int) -> str:
    return f"{text:<{width}}" if len(text) <= width else f"{text[: width - 1]}…"


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


def _sound(message: Message) -> bool:
    error = message.error()
    if error is None:
        return True
    if error.retriable() or error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):  # noqa: SLF001
        return False
    raise ClaimstreamError(f"reading failed: {error.str()}")


def _consumer(config: dict[str, str], topic: str, partitions: int, offset: int) -> Consumer:
    try:
        consumer = Consumer(
            {
                "group.id": "claimstream-tail",
                **config,
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
            }
        )
    except KafkaException as error:
        raise refused_config(error, config) from error
    consumer.assign([TopicPartition(topic, number, offset) for number in range(partitions)])
    return consumer
