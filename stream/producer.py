"""The output side of Kafka: results and dead letters, and what their acknowledgement covers."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from stream.errors import FatalError
from stream.records import Headers

log = logging.getLogger(__name__)

ANY_PARTITION = -1


@dataclass(slots=True)
class Shipment:
    """Messages for one partition of one topic, in order, and what to do when the broker has them all.

    Rows of `messages` are dictionaries as `produce_batch` takes them (`value`, `key`); `headers` is by index.
    """

    topic: str
    partition: int
    messages: list[dict[str, Any]]
    headers: dict[int, Headers]
    acknowledged: Callable[[], None]
    waiting: int = 0


class ClaimProducer:
    """An idempotent producer without gaps.

    Within one partition nothing is written after a message that failed (`enable.gapless.guarantee`: such a failure is
    fatal), so the acknowledgement of a shipment's last message stands for all before it. Where the client chooses the
    partitions, every message is waited for.
    """

    def __init__(self, client: Producer, queue_limit: int) -> None:
        self._client = client
        self._limit = queue_limit
        self._backlog: deque[Shipment] = deque()
        self._outstanding = 0
        self._held_back = 0
        self._failure: FatalError | None = None

    @property
    def outstanding(self) -> int:
        """Shipments that are not acknowledged yet, those not handed to the client included."""
        return self._outstanding

    @property
    def fill(self) -> float:
        """Messages that are not acknowledged yet, as a share of what the client's queue holds; above 1 what waits.

        For any thread.
        """
        return (len(self._client) + self._held_back) / self._limit

    @property
    def blocked(self) -> bool:
        """Whether a shipment waits for room in the client's queue."""
        return bool(self._backlog)

    def send(self, shipments: Sequence[Shipment]) -> None:
        """Hand shipments to the client, in order, as far as its queue has room; the rest follows in `serve`."""
        self._outstanding += len(shipments)
        self._held_back += sum(len(shipment.messages) for shipment in shipments)
        self._backlog.extend(shipments)
        self.serve()

    def serve(self) -> None:
        """Take delivery reports and go on with what waits for room. Raises FatalError after a failed delivery."""
        self._client.poll(0)
        while self._backlog and len(self._client) + len(self._backlog[0].messages) <= self._limit:
            self._held_back -= len(self._backlog[0].messages)
            self._ship(self._backlog.popleft())
        if self._failure is not None:
            raise self._failure

    def flush(self, seconds: float) -> int:
        """Wait for acknowledgements; the number of messages that are still unacknowledged."""
        remaining = int(self._client.flush(seconds))
        self.serve()
        return remaining + self._held_back

    def _ship(self, shipment: Shipment) -> None:
        report = self._report(shipment)
        if shipment.partition == ANY_PARTITION or shipment.headers:
            shipment.waiting = len(shipment.messages)
            for index, message in enumerate(shipment.messages):
                self._produce(shipment, message, shipment.headers.get(index), report)
            return
        shipment.waiting = 1
        *leading, last = shipment.messages
        if leading:
            taken = self._client.produce_batch(shipment.topic, leading, partition=shipment.partition)
            if taken < len(leading):
                refused = next(m["_error"] for m in leading if "_error" in m)
                raise FatalError(f"the producer refused a message for {shipment.topic!r}: {refused}")
        self._produce(shipment, last, None, report)

    def _produce(
        self,
        shipment: Shipment,
        message: dict[str, Any],
        headers: Headers | None,
        report: Callable[..., None],
    ) -> None:
        self._client.produce(
            shipment.topic,
            value=message["value"],
            key=message["key"],
            partition=shipment.partition,
            headers=headers,
            on_delivery=report,
        )

    def _report(self, shipment: Shipment) -> Callable[[KafkaError | None, Message], None]:
        def report(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                self._failure = FatalError(
                    f"a result for {shipment.topic!r} was not delivered: {error.str()}"
                )
                return
            shipment.waiting -= 1
            if shipment.waiting == 0:
                self._outstanding -= 1
                shipment.acknowledged()

        return report
