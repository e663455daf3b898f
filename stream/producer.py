"""The output side of Kafka: results and dead letters, and what their acknowledgement covers."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream.client_watch import reaches_cluster
from stream.errors import FatalError
from stream.records import Headers, Positions
from stream.transaction_policy import Load

log = logging.getLogger(__name__)

ANY_PARTITION = -1
_LOOK = 0.002


@dataclass(slots=True)
class Shipment:
    """Messages for one partition of one topic, in order, and what to do when the broker has them for good.

    `size`: bytes of all keys and values. `positions` are the input records that they answer, one a message; `deadline`
    the last of theirs (monotonic seconds), minus infinity where they have none. `acknowledged` is told, where they were
    kept back on purpose, the seconds that delivery would have taken otherwise.

    Rows of `messages` are dictionaries as `produce_batch` takes them (`value`, `key`); `headers` is by index.
    """

    topic: str
    partition: int
    messages: list[dict[str, Any]]
    headers: dict[int, Headers]
    acknowledged: Callable[[float | None], None]
    size: int
    positions: Positions = field(default_factory=lambda: Positions.joined(()))
    deadline: float = float("-inf")
    waiting: int = 0

    @property
    def load(self) -> Load:
        """What it comes to."""
        return Load(len(self.messages), self.size)


def load_of(shipments: Iterable[Shipment]) -> Load:
    """What they come to, together."""
    return sum((shipment.load for shipment in shipments), Load())


class Sender(Protocol):
    """What the stage asks of a producer."""

    @property
    def carries_offsets(self) -> bool:
        """Whether offsets are committed by the producer, with what it sends."""

    @property
    def fill(self) -> float:
        """Messages that are not acknowledged yet, as a share of what may be; for any thread."""

    @property
    def blocked(self) -> bool:
        """Whether no further shipment should come for now."""

    def reaches_cluster(self, topic: str) -> bool:
        """Whether its client can ask for metadata of a topic that it writes to; from any thread.

        A broker may create a topic that a producer asks for.
        """

    def open(self) -> None:
        """Before the first shipment, and before the group is joined."""

    def send(self, shipments: Sequence[Shipment]) -> None: ...

    def serve(self) -> None: ...

    def serve_at(self, now: float) -> float:
        """When `serve` has something to do again, as far as nobody signals it."""

    def hurry(self, *, hurried: bool) -> None:
        """Whether somebody waits for everything to be acknowledged."""

    def step(self, now: float) -> float:
        """What may wait for the broker; when to be called next."""

    def close(self) -> None:
        """After the last step: what is not acknowledged is given up."""


class ClaimProducer:
    """An idempotent producer without gaps.

    Within one partition nothing is written after a message that failed (`enable.gapless.guarantee`: such a failure is
    fatal), so the acknowledgement of a shipment's last message stands for all before it. Where the client chooses the
    partitions, every message is waited for.
    """

    def __init__(self, client: Producer, queue_limit: int, byte_limit: int) -> None:
        self._client = client
        self._limit = queue_limit
        self._byte_limit = byte_limit
        self._backlog: deque[Shipment] = deque()
        self._outstanding = 0
        self._held_back = 0
        self._bytes = self._bytes_handed = 0
        self._failure: FatalError | None = None

    carries_offsets = False

    @property
    def outstanding(self) -> int:
        """Shipments that are not acknowledged yet, those not handed to the client included."""
        return self._outstanding

    @property
    def fill(self) -> float:
        """What is not acknowledged yet, messages or bytes, as a share of what the client may hold; above 1 what waits.

        For any thread.
        """
        messages = (len(self._client) + self._held_back) / self._limit
        return max(messages, self._bytes / self._byte_limit)

    @property
    def blocked(self) -> bool:
        """Whether a shipment waits for room in the client's queue."""
        return bool(self._backlog)

    def send(self, shipments: Sequence[Shipment]) -> None:
        """Hand shipments to the client, in order, as far as its queue has room; the rest follows in `serve`."""
        self._outstanding += len(shipments)
        self._held_back += sum(len(shipment.messages) for shipment in shipments)
        self._bytes += sum(shipment.size for shipment in shipments)
        self._backlog.extend(shipments)
        self.serve()

    def serve(self) -> None:
        """Take delivery reports and go on with what waits for room. Raises FatalError after a failed delivery."""
        try:
            self._client.poll(0)
        except KafkaException as error:
            # Once, for a fatal error, before the reports of what failed by it.
            raise FatalError(f"the producer cannot go on: {error.args[0].str()}") from error
        while self._backlog and self._has_room_for(self._backlog[0]):
            self._ship(self._backlog.popleft())
        if self._failure is not None:
            raise self._failure

    def serve_at(self, now: float) -> float:
        """Delivery reports have to be fetched."""
        return now + _LOOK if self._outstanding else float("inf")

    def hurry(self, *, hurried: bool) -> None:
        """Nothing is ever kept back."""

    def reaches_cluster(self, topic: str) -> bool:
        return reaches_cluster(self._client, topic)

    def open(self) -> None:
        """Nothing to be done: the client connects by itself."""

    def step(self, now: float) -> float:  # noqa: ARG002 - nothing is due at any time
        """Nothing waits for the broker."""
        return float("inf")

    def close(self) -> None:
        """Nothing to be done: what is not acknowledged is not committed."""

    def _has_room_for(self, shipment: Shipment) -> bool:
        """One of more bytes than the bound goes alone."""
        fits = not self._bytes_handed or self._bytes_handed + shipment.size <= self._byte_limit
        return fits and len(self._client) + len(shipment.messages) <= self._limit

    def _ship(self, shipment: Shipment) -> None:
        self._held_back -= len(shipment.messages)
        self._bytes_handed += shipment.size
        report = self._report(shipment)
        shipment.waiting = len(shipment.messages) if shipment.partition == ANY_PARTITION else 1
        if (refused := hand_over(self._client, shipment, report)) is not None:
            # A report that came meanwhile says what happened; the refusal may only follow from it.
            raise self._failure or FatalError(
                f"the producer refused a message for {shipment.topic!r}: {refused.str()}"
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
                self._bytes -= shipment.size
                self._bytes_handed -= shipment.size
                shipment.acknowledged(None)

        return report


def hand_over(
    client: Producer, shipment: Shipment, report: Callable[..., None] | None = None
) -> KafkaError | None:
    """Give a shipment to the client; the error of the first message that it refused.

    `report` is called for the last message, or for every one where the client chooses partitions.
    """
    try:
        return _handed_over(client, shipment, report)
    except BufferError:
        return KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001 - the client's only name for it
    except KafkaException as error:
        # Such as after a fatal error, from when on the client takes nothing.
        refused: KafkaError = error.args[0]
        return refused


def _handed_over(
    client: Producer, shipment: Shipment, report: Callable[..., None] | None
) -> KafkaError | None:
    if shipment.partition == ANY_PARTITION:
        for index in range(len(shipment.messages)):
            _hand_over_one(client, shipment, index, report)
        return None
    start, last = 0, len(shipment.messages) - 1
    # A batch of the client takes no headers.
    for index in sorted({*shipment.headers, last}):
        if (refused := _hand_over_run(client, shipment, shipment.messages[start:index])) is not None:
            return refused
        _hand_over_one(client, shipment, index, report if index == last else None)
        start = index + 1
    return None


def _hand_over_run(client: Producer, shipment: Shipment, run: list[dict[str, Any]]) -> KafkaError | None:
    if not run or client.produce_batch(shipment.topic, run, partition=shipment.partition) == len(run):
        return None
    # Taken out again, because the same message may be produced once more.
    refused: list[KafkaError] = [message.pop("_error") for message in run if "_error" in message]
    return refused[0]


def _hand_over_one(
    client: Producer, shipment: Shipment, index: int, report: Callable[..., None] | None
) -> None:
    message = shipment.messages[index]
    client.produce(
        shipment.topic,
        value=message["value"],
        key=message["key"],
        partition=shipment.partition,
        headers=shipment.headers.get(index),
        on_delivery=report,
    )
