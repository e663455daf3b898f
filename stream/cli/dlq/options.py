"""Options that the commands on dead letters share: which cluster and topic, and which of its letters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from config import Settings
from stream.cli.configuration import config_option, effective
from stream.cli.dlq.reading import Letter, Place
from stream.cli.kafka_options import configured_client
from stream.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

_PLACE = re.compile(r"(?:(?P<topic>\S+)\[)?(?P<partition>\d{1,9})(?(topic)\])@(?P<offset>\d{1,18})")
_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant; what is None or empty chooses nothing out. Times are milliseconds since the epoch."""

    errors: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    input_topic: str | None = None
    input_partition: int | None = None
    since: int | None = None
    until: int | None = None
    places: frozenset[Place] = frozenset()

    @property
    def everything(self) -> bool:
        return self == Choice()

    def takes(self, letter: Letter) -> bool:
        reason = letter.reason
        return (
            (not self.errors or reason.error_class in self.errors)
            and (not self.models or bool({reason.model, f"{reason.model}:{reason.version}"} & {*self.models}))
            and self.input_topic in (None, reason.topic)
            and self.input_partition in (None, reason.partition)
            and (self.since is None or letter.timestamp >= self.since)
            and (self.until is None or letter.timestamp < self.until)
            and (not self.places or letter.place in self.places)
        )


def cluster_options(command: Command) -> Command:
    """Adds --config, --bootstrap, --client and --topic; `connection` makes of them what the commands need."""
    options = (
        config_option,
        click.option("--bootstrap", metavar="HOST:PORT", help="Brokers; over kafka.bootstrap_servers."),
        click.option(
            "--client",
            "client_options",
            multiple=True,
            metavar="KEY=VALUE",
            help="A librdkafka option; may be repeated.",
        ),
        click.option(
            "--topic", metavar="NAME", help="Topic of dead letters; over kafka.topics.dead_letters."
        ),
    )
    return reduce(lambda inner, option: option(inner), reversed(options), command)


def connection(
    config_file: Path | None, bootstrap: str | None, client_options: tuple[str, ...], topic: str | None
) -> tuple[dict[str, str], str, Settings]:
    """The client's options, the topic of dead letters, and all settings. Raises ConfigurationError, UsageError."""
    given = {"kafka.bootstrap_servers": bootstrap, "kafka.topics.dead_letters": topic}
    settings = effective(config_file, given)
    kafka = settings.kafka
    config = configured_client(kafka.client, kafka.bootstrap_servers, client_options)
    return config, kafka.topics.dead_letters, settings


def choice_options(command: Command) -> Command:
    """Adds the filters; `choice` makes of them what is meant."""
    options = (
        click.option("--error", "errors", multiple=True, metavar="CLASS", help="Of this error class."),
        click.option(
            "--model", "models", multiple=True, metavar="NAME", help="Of this model, or NAME:VERSION."
        ),
        click.option("--input-topic", metavar="NAME", help="That came from this topic."),
        click.option(
            "--input-partition", type=click.IntRange(0), metavar="N", help="That came from this partition."
        ),
        click.option(
            "--since", metavar="TIME", help="Written at or after: 2026-01-31T08:00 (UTC), or 90m, 2h, 3d ago."
        ),
        click.option("--until", metavar="TIME", help="Written before."),
    )
    return reduce(lambda inner, option: option(inner), reversed(options), command)


def choice(options: Mapping[str, Any], now: float, places: tuple[str, ...] = (), topic: str = "") -> Choice:
    """`options` as `choice_options` adds them; `places` in `topic`. Raises UsageError."""
    return Choice(
        options["errors"],
        options["models"],
        options["input_topic"],
        options["input_partition"],
        _moment("--since", options["since"], now),
        _moment("--until", options["until"], now),
        frozenset(parse_place(place, topic) for place in places),
    )


def parse_place(text: str, topic: str) -> Place:
    """Partition and offset from `PARTITION@OFFSET`, or `TOPIC[PARTITION]@OFFSET` of this topic. Raises UsageError."""
    if (found := _PLACE.fullmatch(text)) is None:
        raise UsageError(f"{text!r} is no position; give it as PARTITION@OFFSET, as `dlq list` prints it")
    if found["topic"] not in (None, topic):
        raise UsageError(
            f"{text!r} is a place in {found['topic']!r}, perhaps where the record came from; its letter lies in"
            f" {topic!r}, at what `dlq list` has under AT"
        )
    return int(found["partition"]), int(found["offset"])


def _moment(option: str, text: str | None, now: float) -> int | None:
    if text is None:
        return None
    if (ago := _AGO.fullmatch(text)) is not None:
        return int((now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}).total_seconds()) * 1_000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is no time; such as 2026-01-31T08:00, or 2h for ago") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
