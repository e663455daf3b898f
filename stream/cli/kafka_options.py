"""Options of commands that speak to a broker."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from confluent_kafka import KafkaException

from config.kafka_settings import OWN_OPTIONS
from stream.cli.configuration import config_option
from stream.errors import UsageError

SENSITIVE = re.compile(r"password|secret|token|jaas|\.pem|oauthbearer|basic\.auth", re.IGNORECASE)

# Among those that the settings refuse, the ones that a command takes: where the cluster is, who reads, how long and how
# much waits.
OPEN_OPTIONS = {
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "enable.gapless.guarantee",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
}

Command = TypeVar("Command", bound=Callable[..., Any])


def kafka_options(command: Command) -> Command:
    """Adds --config, --bootstrap and --client."""
    command = click.option(
        "--client",
        "client_options",
        multiple=True,
        metavar="KEY=VALUE",
        help="A librdkafka option, e.g. security.protocol=SASL_SSL; may be repeated.",
    )(command)
    command = click.option(
        "--bootstrap", metavar="HOST:PORT", help="Brokers, separated by commas; over kafka.bootstrap_servers."
    )(command)
    return config_option(command)


def client_config(bootstrap: str, client_options: tuple[str, ...]) -> dict[str, str]:
    """librdkafka's options as a dictionary. Raises UsageError for one that is not KEY=VALUE, or not to be chosen."""
    config = {"bootstrap.servers": bootstrap}
    for number, option in enumerate(client_options, start=1):
        key, separator, value = option.partition("=")
        if not separator or not key.strip():
            raise UsageError(
                f"--client number {number} is not KEY=VALUE, e.g. --client security.protocol=SSL"
            )
        if (name := key.strip()) in OWN_OPTIONS and name not in OPEN_OPTIONS:
            raise UsageError(
                f"--client {name} is set by claimstream itself; its guarantees rest on it, leave it out"
            )
        config[name] = value
    return config


def configured_client(
    options: Mapping[str, Any], bootstrap: str, client_options: tuple[str, ...]
) -> dict[str, str]:
    """The same, over `options` of the configuration. Raises UsageError."""
    shared = {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in options.items()
    }
    return {**shared, **client_config(bootstrap, client_options)}


def refused_config(error: KafkaException, config: Mapping[str, str]) -> UsageError:
    """What librdkafka said against the options, without the values that nobody should read."""
    text = str(error.args[0].str()) if error.args and hasattr(error.args[0], "str") else str(error)
    for key, value in config.items():
        if value and SENSITIVE.search(key):
            text = text.replace(value, "***")
    return UsageError(
        f"the Kafka client refuses its options: {text}. Check --bootstrap and --client, or kafka.client."
    )
