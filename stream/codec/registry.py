"""Writer schemas from a Schema Registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError

from stream.clock import Clock
from stream.errors import DecodeError, RetryError

_NOT_FOUND = 404
_REMEMBER_UNKNOWN = 30.0


class SchemaSource(Protocol):
    """Gives the schema that an id stands for."""

    def schema(self, schema_id: int) -> dict[str, Any]:
        """Raises DecodeError for an unknown id, RetryError while the source cannot be reached."""


class RegistrySource:
    """A Schema Registry over HTTP; known schemas are kept, unknown ids remembered for half a minute."""

    def __init__(self, url: str, options: Mapping[str, Any], clock: Clock, *, timeout: float = 5.0) -> None:
        self._url = url
        self._clock = clock
        self._client = SchemaRegistryClient({"url": url, "timeout": timeout, "max.retries": 0, **options})
        self._unknown: dict[int, float] = {}

    def schema(self, schema_id: int) -> dict[str, Any]:
        if self._clock.now() < self._unknown.get(schema_id, 0.0):
            raise DecodeError(f"schema id {schema_id} is unknown to the registry")
        try:
            schema: dict[str, Any] = json.loads(self._client.get_schema(schema_id).schema_str or "null")
        except SchemaRegistryError as error:
            if error.http_status_code != _NOT_FOUND:
                raise RetryError(f"the schema registry answered {error.http_status_code}: {error}") from error
            self._unknown[schema_id] = self._clock.now() + _REMEMBER_UNKNOWN
            raise DecodeError(f"schema id {schema_id} is unknown to the registry") from error
        except Exception as error:
            # The HTTP client's errors share no base class; whatever it is, the registry gave no answer.
            raise RetryError(
                f"the schema registry cannot be reached: {type(error).__name__}: {error}"
            ) from error
        return schema
