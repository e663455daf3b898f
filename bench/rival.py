"""The rival of `bench host`: a competent loop of confluent-kafka and fastavro, and what consume + produce alone carry.

python -m bench.rival BOOTSTRAP INPUT OUTPUT GROUP {loop|carry} BATCH
"""

from __future__ import annotations

import io
import struct
import sys
import time
from typing import Any

import fastavro
from confluent_kafka import Consumer, Message, Producer
from fastavro.schema import fingerprint, to_parsing_canonical_form

import schemas

HEADER = 10


class Loop:
    """Consume, decode and encode a record at a time, produce with a callback, flush, commit."""

    def __init__(self, output: str, producer: Producer) -> None:
        self._output = output
        self._producer = producer
        self._claim = fastavro.parse_schema(schemas.load("claim_event"))
        score = schemas.load("claim_score")
        self._score = fastavro.parse_schema(score)
        rabin = fingerprint(to_parsing_canonical_form(score), "CRC-64-AVRO")
        self._prefix = b"\xc3\x01" + struct.pack(">Q", int(rabin, 16))
        self._failed = 0

    def step(self, messages: list[Message]) -> None:
        for message in messages:
            claim: Any = fastavro.schemaless_reader(io.BytesIO(message.value()[HEADER:]), self._claim, None)
            sink = io.BytesIO()
            sink.write(self._prefix)
            fastavro.schemaless_writer(sink, self._score, self._result(message, claim))
            self._producer.produce(
                self._output,
                sink.getvalue(),
                key=message.key(),
                partition=message.partition(),
                on_delivery=self._delivered,
            )
        self._producer.flush()
        if self._failed:
            raise SystemExit("a result was not delivered")

    def _delivered(self, error: object, _: Message) -> None:
        self._failed += error is not None

    def _result(self, message: Message, claim: dict[str, Any]) -> dict[str, Any]:
        charge = sum(line["charge"] for line in claim["lines"])
        score = charge / (charge + 500.0 * max(len(claim["lines"]), 1))
        now = int(time.time() * 1_000)
        entry = {
            "model": "null",
            "version": "1.0.0",
            "variant": "default",
            "score": score,
            "decision": "review" if score >= 0.5 else "pass",
            "precision": "fp32",
            "device": "cpu",
        }
        return {
            "claim_id": claim["claim_id"],
            "claim_type": claim["claim_type"],
            "input_topic": message.topic(),
            "input_partition": message.partition(),
            "input_offset": message.offset(),
            "input_timestamp": message.timestamp()[1],
            "scores": [entry],
            "outcome": "scored",
            "scored_at": now,
            "queue_ms": float(now - message.timestamp()[1]),
            "inference_ms": 0.0,
            "deadline_missed": False,
        }


class Carry:
    """Consume and produce the values as they are: what the clients alone carry in one thread."""

    def __init__(self, output: str, producer: Producer) -> None:
        self._output = output
        self._producer = producer

    def step(self, messages: list[Message]) -> None:
        by_partition: dict[int, list[dict[str, Any]]] = {}
        for message in messages:
            entry = {"value": message.value(), "key": message.key()}
            by_partition.setdefault(message.partition(), []).append(entry)
        for partition, entries in by_partition.items():
            while self._producer.produce_batch(self._output, entries, partition=partition) < len(entries):
                entries = [entry for entry in entries if entry.pop("_error", None) is not None]
                self._producer.poll(0.01)
        self._producer.poll(0)


def main() -> None:
    bootstrap, topic, output, group, kind, batch = sys.argv[1:7]
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 2})
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 5,
            "queued.min.messages": 200_000,
        }
    )
    consumer.subscribe([topic])
    worker = Loop(output, producer) if kind == "loop" else Carry(output, producer)
    while True:
        if messages := [m for m in consumer.consume(int(batch), 0.1) if m.error() is None]:
            worker.step(messages)
            consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main()
