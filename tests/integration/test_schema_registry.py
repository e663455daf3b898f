"""Writer schemas from a real Schema Registry."""

from __future__ import annotations

import json
import socket

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

import schemas
from stream.clock import SystemClock
from stream.codec import Decoder, Encoder, Framing
from stream.codec.framing import confluent_prefix
from stream.codec.learning import LearnedSchemas
from stream.codec.registry import RegistrySource
from stream.errors import DecodeError, RetryError
from tests.conftest import SchemaRegistry

SCORE = schemas.load("claim_score")


def two_scores() -> tuple[Decoder, list[bytes]]:
    """A decoder of scores, and two encoded ones, unframed."""
    decoder = Decoder(SCORE, bare_schema=SCORE)
    strings = b"".join(bytes([2 * len(text)]) + text for text in (b"c1", b"professional", b"claims"))
    bare = strings + b"\x02\x04\x06" + b"\x00" + b"\x0cscored" + b"\x08" + b"\x00" * 8 + b"\x01"
    return decoder, [bare, bare]


def test_values_are_read_by_their_registered_schema(schema_registry: SchemaRegistry) -> None:
    client = SchemaRegistryClient({"url": schema_registry.url})
    schema_id = client.register_schema("scores-value", Schema(json.dumps(SCORE), "AVRO"))
    decoder, bare = two_scores()
    batch = decoder.decode(bare).claims
    values = Encoder(SCORE, Framing.CONFLUENT, schema_id).encode(batch)
    reader = Decoder(SCORE, registry=LearnedSchemas(RegistrySource(schema_registry.url, {}), SystemClock()))
    for _ in range(2):
        reader.learn(values)
        assert reader.decode(values).claims == batch


def test_an_unknown_id_is_told_from_a_registry_that_is_away(schema_registry: SchemaRegistry) -> None:
    source = RegistrySource(schema_registry.url, {})
    with pytest.raises(DecodeError, match="7777"):
        source.schema(7777)
    source._client = None  # type: ignore[assignment]
    with pytest.raises(RetryError):
        source.schema(7777)


def test_a_wrong_address_is_not_an_unknown_schema(schema_registry: SchemaRegistry) -> None:
    source = RegistrySource(schema_registry.url + "/nowhere", {})
    with pytest.raises(RetryError):
        source.schema(1)


def test_no_registry_means_trying_again() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        decoder = Decoder(
            SCORE, registry=LearnedSchemas(RegistrySource(url, {}, timeout=1.0), SystemClock(), patience=5.0)
        )
        with pytest.raises(RetryError, match="no answer"):
            decoder.learn([confluent_prefix(1) + b"abc"])
