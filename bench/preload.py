"""Fills a topic as fast as the client can: distinct claims encoded once, sent again and again."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Producer

import schemas
from stream.codec import Encoder
from stream.publishing import generate

_DISTINCT = 20_000
_CHUNK = 5_000


def encoded_claims(count: int = _DISTINCT, seed: int = 1) -> list[dict[str, bytes]]:
    """Generated claims as `produce_batch` takes them, keyed by member."""
    encoder = Encoder(schemas.load("claim_event"))
    messages: list[dict[str, bytes]] = []
    for batch in generate(count, seed):
        members = batch.column("member_id").to_pylist()
        messages += [
            {"value": value, "key": member.encode()}
            for value, member in zip(encoder.encode(batch), members, strict=True)
        ]
    return messages


def preload(bootstrap: str, topic: str, claims: int, partitions: int) -> float:
    """Produce `claims` claims, evenly over the partitions; the mean bytes of a value."""
    messages = encoded_claims()
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 500_000}
    )
    sent = 0
    while sent < claims:
        for partition in range(partitions):
            start = sent % _DISTINCT
            _send(producer, topic, partition, [dict(message) for message in messages[start : start + _CHUNK]])
            sent += _CHUNK
        producer.poll(0)
    producer.flush(60)
    return sum(len(message["value"]) for message in messages) / len(messages)


def _send(producer: Any, topic: str, partition: int, chunk: list[dict[str, Any]]) -> None:
    """Every message of the chunk; what finds the queue full is sent again."""
    while producer.produce_batch(topic, chunk, partition=partition) < len(chunk):
        chunk = [message for message in chunk if message.pop("_error", None) is not None]
        producer.poll(0.05)
