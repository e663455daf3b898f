"""Claims at a rate, and how long the oldest of them has been waiting for its answer, as seen from the topics."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

import fastavro
from confluent_kafka import KafkaException, Message, Producer

import schemas
from bench.real_faults.answers import LOST, Answers
from stream.audit import Topics
from stream.codec import Encoder
from stream.publishing import generate

# Nobody waits longer than this while all is well; a claim that does is late.
FRESH = 1.0
_TICK = 0.02
_BLOCK = 2_000
_HEADER_BYTES = 10

Place = tuple[int, int]


class Flow:
    """Publishes generated claims in a thread, and reads answers in another."""

    def __init__(self, client: Mapping[str, Any], topics: Topics, rate: float, seed: int) -> None:
        self._client = dict(client)
        self._topics = topics
        self.rate = rate
        self._seed = seed
        self._claims = _claims(seed)
        self._lock = threading.Lock()
        self._waiting: dict[Place, float] = {}
        self._early: set[Place] = set()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._late_at: float | None = None
        self._extra = 0
        self._held = threading.Event()
        self.published = 0
        self.answered = 0
        self.letters: list[Message] = []
        self._producer = self._new_producer()
        self._stands_at, self._stands_since = 0, time.monotonic()
        self._threads = [
            threading.Thread(target=target, name=target.__name__, daemon=True)
            for target in (self._publish, self._watch)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def silence(self) -> None:
        """Publish no more; what was published is with the broker when this returns."""
        self._stopping.set()
        self._threads[0].join()
        self._producer.flush(30.0)

    def stop(self) -> None:
        """Both threads end, if they began."""
        self._stopping.set()
        self._ended.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def put(self, value: bytes, key: bytes | None = None, partition: int = -1) -> None:
        """One record of its own among the claims."""
        more = {} if partition < 0 else {"partition": partition}
        self._producer.produce(self._topics.claims, value, key=key, on_delivery=self._delivered, **more)

    def put_and_seen(self, value: bytes, partition: int) -> bool:
        """Whether a partition took a record, which a new one does not at once."""
        # A client of its own, because one that knows the topic learns of its partitions after minutes.
        producer = Producer({**self._client, "log_level": 0})
        before = self.published
        try:
            producer.produce(self._topics.claims, value, b"new", partition, on_delivery=self._delivered)
        except KafkaException:
            return False
        producer.flush(2.0)
        return self.published > before

    def samples(self, count: int) -> list[bytes]:
        """Values of claims that are not published."""
        return [value for value, _ in islice(_claims(self._seed + 1), count)]

    def hold(self) -> None:
        """Publish nothing for a while; what was published is with the broker when this returns."""
        self._held.set()
        time.sleep(2 * _TICK)
        self._producer.flush(10.0)

    def go_on(self) -> None:
        """What was not published meanwhile is left out."""
        self._held.clear()

    def burst(self, count: int) -> None:
        """So many claims at once, beside those that are due."""
        self._extra += count

    @property
    def waiting(self) -> int:
        """Claims without an answer."""
        with self._lock:
            return len(self._waiting)

    def age(self) -> float:
        """Seconds since the oldest claim without an answer was published."""
        with self._lock:
            return time.monotonic() - min(self._waiting.values()) if self._waiting else 0.0

    def late_since(self, moment: float) -> float:
        """Seconds from the moment to the last one at which a claim was late; 0 when none was."""
        late = self._late_at
        return max(late - moment, 0.0) if late is not None else 0.0

    def _publish(self) -> None:
        due = time.monotonic()
        while not self._stopping.wait(max(due - time.monotonic(), 0.0)):
            due += _TICK
            if self._held.is_set():
                continue
            extra, self._extra = self._extra, 0
            for _ in range(max(round(self.rate * _TICK), 1) + extra):
                value, key = next(self._claims)
                self.put(value, key)
            self._producer.poll(0)
            self._renew_if_lost(time.monotonic())

    def _new_producer(self) -> Producer:
        return Producer({**self._client, "linger.ms": 5, "enable.idempotence": True, "log_level": 0})

    def _renew_if_lost(self, now: float) -> None:
        """The stage is not the only one whose client may lose its cluster for good (`stream/client_watch.py`).

        What it still holds is left out, as far as the broker has not got it.
        """
        if len(self._producer) == 0 or self.published != self._stands_at:
            self._stands_at, self._stands_since = self.published, now
        elif now - self._stands_since > LOST:
            self._producer.purge()
            self._producer = self._new_producer()
            self._stands_since = now

    def _delivered(self, error: Any, message: Message) -> None:
        if error is not None:
            return
        place = message.partition(), message.offset()
        with self._lock:
            self.published += 1
            if place in self._early:
                self._early.discard(place)
            else:
                self._waiting[place] = time.monotonic()

    def _watch(self) -> None:
        answers = Answers(self._client, self._topics)
        while not self._ended.is_set():
            for message in answers.read():
                self._answer(message)
            if self._stopping.is_set():
                self._producer.poll(0)
            if self.age() > FRESH:
                self._late_at = time.monotonic()
        answers.close()

    def _answer(self, message: Message) -> None:
        if is_letter := message.topic() == self._topics.dead_letters:
            self.letters.append(message)
        place = _origin(message) if is_letter else _source(message)
        with self._lock:
            self.answered += 1
            if self._waiting.pop(place, None) is None:
                self._early.add(place)


def _claims(seed: int) -> Iterator[tuple[bytes, bytes]]:
    """Value and key, without end."""
    encoder = Encoder(schemas.load("claim_event"))
    start = 0
    while True:
        for batch in generate(_BLOCK, seed, start=start):
            members = batch.column("member_id").to_pylist()
            yield from ((v, m.encode()) for v, m in zip(encoder.encode(batch), members, strict=True))
        start += _BLOCK


def _source(message: Message) -> Place:
    result = decoded(message.value() or b"", "claim_score")
    return result["input_partition"], result["input_offset"]


def _origin(letter: Message) -> Place:
    headers = dict(letter.headers() or [])
    return int(headers["claimstream-partition"] or b""), int(headers["claimstream-offset"] or b"")


def decoded(value: bytes, schema: str) -> Any:
    """By the shipped schema of that name, in which it was written."""
    return fastavro.schemaless_reader(io.BytesIO(value[_HEADER_BYTES:]), _parsed(schema), None)


@cache
def _parsed(name: str) -> Any:
    return fastavro.parse_schema(schemas.load(name))
