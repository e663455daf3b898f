"""Writer schemas from a Schema Registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError

from stream.errors import DecodeError, RetryError, UsageError

_NOT_FOUND = 404
# Confluent's codes under 404 that speak of the schema, not of a wrong address.
_UNKNOWN_SCHEMA = {40403}


class RegistrySource:
    """A Schema Registry over HTTP, for several threads.

    `options` go to confluent_kafka's SchemaRegistryClient as they are and override `timeout` (seconds a request).
    Raises UsageError for options that the client refuses, or certificates that it cannot read.
    """

    def __init__(self, url: str, options: Mapping[str, Any], *, timeout: float = 5.0) -> None:
        try:
            self._client = SchemaRegistryClient({"url": url, "timeout": timeout, "max.retries": 0, **options})
        except (ValueError, TypeError, OSError) as error:
            raise UsageError(f"schemas.registry_url or schemas.registry: {error}") from error

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The schema; it must be a self-contained Avro record."""
        try:
            found = self._client.get_schema(schema_id)
        except SchemaRegistryError as error:
            if not _says_unknown(error):
                raise RetryError(f"the schema registry answered {error.http_status_code}: {error}") from error
            raise DecodeError(f"schema id {schema_id} is unknown to the registry") from error
        except Exception as error:
            # The HTTP client's errors share no base class; whatever it is, the registry gave no answer.
            raise RetryError(
                f"the schema registry gave no answer: {type(error).__name__}: {error}"
            ) from error
        if (found.schema_type or "AVRO") != "AVRO" or found.references:
            raise DecodeError(
                f"schema id {schema_id} is {found.schema_type}, or refers to others: not readable here"
            )
        return _record(schema_id, found.schema_str or "")


def _says_unknown(error: SchemaRegistryError) -> bool:
    return error.http_status_code == _NOT_FOUND and error.error_code in _UNKNOWN_SCHEMA


def _record(schema_id: int, text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise DecodeError(f"schema id {schema_id} is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise DecodeError(f"schema id {schema_id} is not a record")
    return schema
