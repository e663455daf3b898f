"""Whether the clients take the options that they are given, before anything is built with them."""

from __future__ import annotations

import logging

from confluent_kafka import Consumer, KafkaException, Producer

from config import Settings
from config.secrets import without_secrets
from stream.clients import consumer_options
from stream.errors import UsageError
from stream.options import sender_options


def check_clients(settings: Settings) -> None:
    """Raises UsageError for an option that librdkafka does not know or cannot read; waits for no broker."""
    kafka = settings.kafka
    # The clients try to connect from their first moment; whether the broker answers is said elsewhere.
    silent = logging.Logger("probe", level=logging.CRITICAL + 1)
    try:
        Consumer(
            consumer_options(kafka.bootstrap_servers, kafka.group_id, kafka.client, kafka.consumer),
            logger=silent,
        ).close()
        Producer(sender_options(settings, 1_000, 0), logger=silent)
    except KafkaException as error:
        reason = without_secrets(error.args[0].str())
        raise UsageError(
            f"kafka: the client refuses its options: {reason}; check client, consumer, producer"
        ) from error
