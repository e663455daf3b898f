"""A consumer of scores that notes when each arrived."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

import schemas
from stream.clock import Clock
from stream.codec import Decoder

_POLL = 0.02


class Receiver(threading.Thread):
    """Reads a topic from its beginning at read_committed, in a thread of its own."""

    def __init__(self, client: Mapping[str, Any], topic: str, clock: Clock) -> None:
        super().__init__(name="receiver", daemon=True)
        options = {
            "group.id": "claimstream-demo",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
        self._consumer = Consumer({**client, **options, "fetch.wait.max.ms": 20})
        partitions = self._consumer.list_topics(topic, timeout=10.0).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        self._decoder = Decoder(schemas.load("claim_score"))
        self._clock = clock
        self._stopping = threading.Event()
        self._seen: list[npt.NDArray[np.float64]] = []
        self.count = 0

    def run(self) -> None:
        while not self._stopping.is_set():
            first = self._consumer.poll(_POLL)
            if first is None:
                continue
            messages = [first, *self._consumer.consume(2_000, 0)]
            now = self._clock.wall()
            values = [message.value() for message in messages if message.error() is None]
            scores = self._decoder.decode(values).claims
            sent = scores.column("input_timestamp").cast(pa.int64()).to_numpy() / 1_000.0
            self._seen.append(np.column_stack((sent, np.full(len(sent), now))))
            self.count += len(sent)
        self._consumer.close()

    def times(self) -> npt.NDArray[np.float64]:
        """One row a score, in the order received: input timestamp and receipt, seconds since the epoch."""
        return np.concatenate([np.empty((0, 2)), *self._seen])

    def stop(self) -> None:
        self._stopping.set()
        self.join(5.0)
