"""The embedded Schema Registry speaks Confluent's API."""

from __future__ import annotations

import json

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

import schemas
from tests.conftest import SchemaRegistry


def test_schema_is_registered_and_found_by_its_number(schema_registry: SchemaRegistry) -> None:
    client = SchemaRegistryClient({"url": schema_registry.url})
    claim = schemas.load("claim_event")
    number = client.register_schema("claims-value", Schema(json.dumps(claim), "AVRO"))
    found = client.get_schema(number).schema_str
    assert found is not None
    assert json.loads(found) == claim
