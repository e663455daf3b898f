"""An audit from outside: reads input, output and dead letters as any consumer would, and counts what does not add up.

Shares nothing with the stage but the schemas.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

import schemas

SINGLE_OBJECT = b"\xc3\x01"
HEADER_BYTES = 10
TOLERANCE = 1e-5

Place = tuple[int, int]
Claim = dict[str, Any]
Reference = Callable[[Sequence[Claim]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one run."""

    claims: str
    scores: str
    dead_letters: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Counts of records; only the first three may differ from zero in a sound run."""

    published: int
    scored: int
    dead_letters: int
    lost: int
    duplicated: int
    mismatched: int
    wrong_lineage: int
    out_of_order: int

    @property
    def sound(self) -> bool:
        return not (
            self.lost or self.duplicated or self.mismatched or self.wrong_lineage or self.out_of_order
        )


def audit(client: Mapping[str, Any], topics: Topics, reference: Reference | None = None) -> Finding:
    """Compare every input record with its results. `reference` scores claims (decoded records) in a plain offline pass.

    Reads each topic from its beginning to the end that it has at the start. A score that differs from the reference by
    more than 1e-5 is mismatched.
    """
    inputs = {_place(message): message for message in messages(client, topics.claims)}
    results = [(message, _decoded(message, "claim_score")) for message in messages(client, topics.scores)]
    letters = [_origin(message) for message in messages(client, topics.dead_letters)]
    answered = Counter([_source(score) for _, score in results] + letters)
    return Finding(
        published=len(inputs),
        scored=len(results),
        dead_letters=len(letters),
        lost=sum(place not in answered for place in inputs),
        duplicated=sum(count - 1 for count in answered.values()),
        mismatched=_mismatched(inputs, results, reference) if reference else 0,
        wrong_lineage=sum(
            not _same_origin(inputs.get(_source(score)), message, score) for message, score in results
        ),
        out_of_order=_out_of_order(results),
    )


def _mismatched(
    inputs: Mapping[Place, Message], results: Sequence[tuple[Message, Claim]], reference: Reference
) -> int:
    known = [(score, inputs[_source(score)]) for _, score in results if _source(score) in inputs]
    expected = reference([_decoded(message, "claim_event") for _, message in known])
    return sum(
        abs(score["scores"][-1]["score"] - value) > TOLERANCE
        for (score, _), value in zip(known, expected, strict=True)
    )


def _same_origin(origin: Message | None, result: Message, score: Claim) -> bool:
    if origin is None:
        return False
    stamped = int(score["input_timestamp"].timestamp() * 1_000 + 0.5)
    return bool(
        origin.key() == result.key()
        and origin.timestamp()[1] == stamped
        and _decoded(origin, "claim_event")["claim_id"] == score["claim_id"]
    )


def _out_of_order(results: Sequence[tuple[Message, Claim]]) -> int:
    """Results of one key and input partition whose input offset is below that of the one before; null keys exempt."""
    latest: dict[tuple[bytes, int], int] = {}
    wrong = 0
    for message, score in results:
        if message.key() is None:
            continue
        stream = (message.key(), score["input_partition"])
        wrong += score["input_offset"] < latest.get(stream, -1)
        latest[stream] = max(score["input_offset"], latest.get(stream, -1))
    return wrong


def _source(score: Claim) -> Place:
    return score["input_partition"], score["input_offset"]


def _place(message: Message) -> Place:
    return message.partition(), message.offset()


def _origin(letter: Message) -> Place:
    headers = dict(letter.headers() or [])
    return int(headers["claimstream-partition"]), int(headers["claimstream-offset"])


def _decoded(message: Message, schema: str) -> Claim:
    value = message.value()
    if not value.startswith(SINGLE_OBJECT):
        raise ValueError(
            f"{message.topic()}[{message.partition()}]@{message.offset()} is not single-object Avro"
        )
    record: Any = fastavro.schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), _parsed(schema), None)
    claim: Claim = record
    return claim


@cache
def _parsed(name: str) -> Any:
    return fastavro.parse_schema(schemas.load(name))


def messages(client: Mapping[str, Any], topic: str) -> Iterator[Message]:
    """Every committed record of a topic, from its beginning to the end that it has when reached."""
    consumer = Consumer(
        {
            **client,
            "group.id": "claimstream-audit",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=10.0).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        yield from _until_the_end(consumer, len(partitions))
    finally:
        consumer.close()


def _until_the_end(consumer: Consumer, partitions: int) -> Iterator[Message]:
    ended: set[int] = set()
    while len(ended) < partitions:
        for message in consumer.consume(2_000, 0.2):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's only name for it
                ended.add(message.partition())
            else:
                raise KafkaException(error)
