"""Registers the claim schema with a Schema Registry, for values in Confluent's framing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from stream.errors import RetryError, UsageError

TIMEOUT_SECONDS = 10


def register(url: str, topic: str, schema: Mapping[str, Any]) -> int:
    """The id of `schema` under the subject `topic`-value, registered if it is new.

    Raises UsageError when the registry refuses it, RetryError when it cannot be reached within 10 s.
    """
    try:
        client = SchemaRegistryClient({"url": url, "timeout": TIMEOUT_SECONDS, "max.retries": 1})
        return int(client.register_schema(f"{topic}-value", Schema(json.dumps(schema), "AVRO")))
    except SchemaRegistryError as error:
        raise UsageError(
            f"the Schema Registry refused the schema of {topic}-value: {error}. Check --registry."
        ) from error
    except ValueError as error:
        raise UsageError(
            "--registry is not the address of a Schema Registry, e.g. http://host:8081"
        ) from error
    except Exception as error:  # whatever the client's HTTP library raises
        raise RetryError(
            f"the Schema Registry does not answer: {type(error).__name__}. Check --registry."
        ) from error
