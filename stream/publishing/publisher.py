"""Claims out to Kafka: encoded, keyed, acknowledged."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream.clock import Clock, SystemClock
from stream.errors import ClaimstreamError
from stream.publishing.arrow_calls import Column
from stream.publishing.pacing import Pacer
from stream.publishing.recording import Recorder

log = logging.getLogger(__name__)

Record = dict[str, Any]

DEFAULTS: Mapping[str, Any] = {
    # Errors alone: a young broker's "Coordinator load in progress" is a warning, and passes.
    "log_level": 3,
    "linger.ms": 5,
    "batch.num.messages": 10_000,
    "message.timeout.ms": 60_000,
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 262_144,
}
REQUIRED: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    # A callback for each claim costs a third of the speed; `flush` shows that nothing is left unreported.
    "delivery.report.only.error": True,
}
POLL_SECONDS = 0.2
FULL_QUEUE_SECONDS = 0.005
SEND_ROWS = 2_000
# A sleep shorter than this costs more than it places better.
LEAST_WAIT = 0.002
# An idempotent producer asks for its id when it was made, finds no broker yet, and asks again half a second later.
IDENTITY_SECONDS = 0.6


@dataclass(frozen=True, slots=True)
class WrittenClaims:
    """Claims whose bytes in Avro are known, unframed: they go out as they came."""

    claims: pa.RecordBatch
    written: Column


Batch: TypeAlias = pa.RecordBatch | WrittenClaims


def claims_of(batch: Batch) -> pa.RecordBatch:
    """The columns, however the batch is to go out."""
    return batch.claims if isinstance(batch, WrittenClaims) else batch


class BatchEncoder(Protocol):
    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        """One value a row."""

    def framed(self, written: Column) -> list[bytes]:
        """The same of rows that are encoded already."""


class DeliveryError(ClaimstreamError):
    """Claims that the broker did not acknowledge."""


@dataclass(frozen=True, slots=True)
class _Handed:
    """Claims that the client was given together: the first one's number, from 1, and the keys and ids of all."""

    first: int
    keys: Column
    ids: Column


class _Gap:
    """Where what was delivered ends to be whole: before the first claim that failed, of which only the key is told."""

    def __init__(self) -> None:
        self._handed: _Handed | None = None
        self._keys: set[bytes] = set()

    def note(self, handed: _Handed, key: bytes) -> None:
        if self._handed is None or handed.first < self._handed.first:
            self._handed, self._keys = handed, set()
        if handed.first == self._handed.first:
            self._keys.add(key)

    def begin(self) -> tuple[int, str] | None:
        """Number and id of a claim before which none failed; None where none failed at all."""
        if self._handed is None:
            return None
        keys = self._handed.keys.cast(pa.binary()).to_pylist()
        place = next(place for place, key in enumerate(keys) if key in self._keys)
        return self._handed.first + place, str(self._handed.ids[place])


class Publisher:
    """An idempotent producer of claims. Claims of one key keep their order.

    `client_config` are librdkafka's options, `key_field` the column whose text becomes the record's key.
    """

    def __init__(
        self,
        client_config: Mapping[str, Any],
        topic: str,
        encoder: BatchEncoder,
        *,
        clock: Clock | None = None,
        key_field: str = "member_id",
    ) -> None:
        self._topic = topic
        self._encoder = encoder
        self._clock = clock or SystemClock()
        self._key_field = key_field
        self._producer: Any = Producer({**DEFAULTS, **client_config, **REQUIRED}, logger=log)
        self._queued = 0
        self._turned_down = 0
        self._undelivered = 0
        self._reason = ""
        self._gap = _Gap()

    @property
    def given(self) -> int:
        """Claims that the client took or turned down so far; those that it had no room for yet are neither."""
        return self._queued + self._turned_down

    @property
    def acknowledged(self) -> int:
        """Claims that the client took and that neither wait nor failed: those the broker has."""
        return max(self._queued - self._undelivered - len(self._producer), 0)

    @property
    def failing(self) -> bool:
        """Whether claims that the client had taken were not delivered: what follows would leave a hole."""
        return self._undelivered > 0

    def connect(self, seconds: float = 10.0) -> None:
        """Meet the brokers now, so that the first claims do not wait for it. Raises DeliveryError."""
        try:
            self._producer.list_topics(self._topic, timeout=seconds)
        except KafkaException as error:
            raise DeliveryError(f"no broker answers for {self._topic}: {error}") from error
        self._producer.poll(IDENTITY_SECONDS)

    def prepare(self, batch: Batch) -> list[Record]:
        """The records of a batch, encoded, not sent yet."""
        if isinstance(batch, WrittenClaims):
            values = self._encoder.framed(batch.written)
        else:
            values = self._encoder.encode(batch)
        keys = claims_of(batch).column(self._key_field).cast(pa.binary()).to_pylist()
        return [{"key": key, "value": value} for key, value in zip(keys, values, strict=True)]

    def publish(self, batch: Batch) -> None:
        """Encode and send; waits while the client's queue is full."""
        self.send(self.prepare(batch), claims_of(batch))

    def send(self, records: list[Record], claims: pa.RecordBatch | None = None) -> None:
        """Hand records to the client in order. Raises DeliveryError when the client is broken for good.

        `claims` are what the records hold, row by row: by them one that fails is named.
        """
        handed = None if claims is None else self._handed(claims)
        report = partial(self._report, handed)
        while records:
            taken = self._producer.produce_batch(self._topic, records, on_delivery=report)
            self._queued += taken
            self._producer.poll(0)
            if taken == len(records):
                return
            records = self._refused(records, handed)
            if records:
                self._producer.poll(FULL_QUEUE_SECONDS)

    def wait(self, seconds: float) -> None:
        """Serve delivery reports for about that long."""
        self._producer.poll(seconds)

    def flush(self, seconds: float = 120.0) -> None:
        """Wait until each claim is acknowledged. Raises DeliveryError with how many were not."""
        deadline = self._clock.now() + seconds
        # In slices, so that Ctrl-C is heard.
        while self._producer.flush(POLL_SECONDS) and self._clock.now() < deadline:
            pass
        lost = self.given - self.acknowledged
        if lost:
            reason = self._reason or f"no acknowledgement within {seconds:.0f} s"
            raise DeliveryError(
                f"{lost} of {self.given} claims were not delivered to {self._topic}: {reason}. {self._cure()}"
            )

    def _cure(self) -> str:
        begin = self._gap.begin()
        # Of claims that wait yet, as after too short a flush, nobody knows.
        if begin is None or len(self._producer):
            return "The others were; publish again once the cause is mended."
        number, claim_id = begin
        return (
            f"All before claim {number}, {claim_id}, were; once the cause is mended publish again from there on:"
            " of those that follow it some may then be there twice."
        )

    def _handed(self, claims: pa.RecordBatch) -> _Handed:
        return _Handed(self.given + 1, claims.column(self._key_field), claims.column("claim_id"))

    def _refused(self, records: list[Record], handed: _Handed | None) -> list[Record]:
        """Records that found the queue full, to be sent again; others that the client refused have failed."""
        waiting = []
        for record in records:
            error = record.pop("_error", None)
            if error is None:
                continue
            if error.code() == KafkaError._QUEUE_FULL:  # noqa: SLF001 - the client's only name for it
                waiting.append(record)
            elif error.fatal():
                raise DeliveryError(
                    f"the Kafka client cannot go on: {error.str()}; {self.given} claims were given"
                )
            else:
                self._turned_down += 1
                self._note(handed, record["key"], error)
        return waiting

    def _report(self, handed: _Handed | None, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._undelivered += 1
            self._note(handed, message.key(), error)

    def _note(self, handed: _Handed | None, key: bytes | None, error: KafkaError) -> None:
        self._reason = self._reason or error.str()
        if handed is not None and key is not None:
            self._gap.note(handed, key)


def publish_all(
    publisher: Publisher,
    batches: Iterable[Batch],
    *,
    clock: Clock,
    pacer: Pacer | None = None,
    recorder: Recorder | None = None,
) -> Iterator[int]:
    """Publish `batches`, at the pacer's times if there is one; yields the claims of each step and records them.

    Raises DeliveryError soon after claims were not delivered: what comes behind them is not sent.
    """
    start: float | None = None
    sent = 0
    for batch in batches:
        records, claims = publisher.prepare(batch), claims_of(batch)
        # Time begins when there is something to send: making the first batch must not cause a burst.
        start = clock.now() if start is None else start
        while records:
            if publisher.failing:
                publisher.flush()
            elapsed = clock.now() - start
            allowed = SEND_ROWS if pacer is None else pacer.due(elapsed, sent + SEND_ROWS) - sent
            if pacer is not None and allowed <= 0:
                publisher.wait(max(pacer.arrival(sent) - elapsed, LEAST_WAIT))
                continue
            now, records = records[:allowed], records[allowed:]
            publisher.send(now, claims.slice(0, len(now)))
            claims = claims.slice(len(now))
            if recorder is not None:
                recorder.note(elapsed, len(now))
            sent += len(now)
            yield len(now)
