"""Shipments, acknowledgements and a full queue, against a client that records what it is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream.errors import FatalError
from stream.producer import ANY_PARTITION, ClaimProducer, Shipment


class RecordingClient:
    """Queues messages and acknowledges them when told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bytes]] = []
        self.reports: deque[Callable[..., None] | None] = deque()
        self.traced: set[bytes] = set()

    def __len__(self) -> int:
        return len(self.reports)

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], partition: int) -> int:
        for message in messages:
            self.sent.append((topic, partition, message["value"]))
            self.reports.append(None)
        return len(messages)

    def produce(
        self,
        topic: str,
        *,
        value: bytes,
        partition: int,
        headers: object,
        on_delivery: Callable[..., None],
        **_: Any,
    ) -> None:
        self.sent.append((topic, partition, value))
        self.traced |= {value} if headers else set()
        self.reports.append(on_delivery)

    def acknowledge(self, count: int, error: object = None) -> None:
        for _ in range(count):
            report = self.reports.popleft()
            if report is not None:
                report(error, None)

    def poll(self, _: float) -> int:
        return 0


def shipment(count: int, done: list[str], name: str = "x", partition: int = 0, **more: Any) -> Shipment:
    messages = [{"value": f"{name}{i}".encode(), "key": None} for i in range(count)]
    size = sum(len(message["value"]) for message in messages)
    return Shipment("scores", partition, messages, more.get("headers", {}), lambda _: done.append(name), size)


def test_the_last_message_of_a_partition_stands_for_all() -> None:
    client, done = RecordingClient(), list[str]()
    producer = ClaimProducer(client, 100, 1_000)
    producer.send([shipment(3, done)])
    assert [value for _, _, value in client.sent] == [b"x0", b"x1", b"x2"]
    client.acknowledge(2)
    assert (done, producer.outstanding) == ([], 1)
    client.acknowledge(1)
    assert (done, producer.outstanding) == (["x"], 0)


@pytest.mark.parametrize("traced", [{0}, {1}, {2}, {0, 1, 2}, {1, 3}])
def test_messages_with_headers_go_in_their_order_and_are_reported_as_others(traced: set[int]) -> None:
    client, done = RecordingClient(), list[str]()
    producer = ClaimProducer(client, 100, 1_000)
    producer.send([shipment(4, done, headers={index: [("traceparent", b"t")] for index in traced})])
    assert [value for _, _, value in client.sent] == [b"x0", b"x1", b"x2", b"x3"]
    assert client.traced == {f"x{index}".encode() for index in traced}
    assert [report is not None for report in client.reports] == [False, False, False, True]
    client.acknowledge(4)
    assert done == ["x"]


def test_where_the_client_chooses_partitions_every_message_is_waited_for() -> None:
    client, done = RecordingClient(), list[str]()
    producer = ClaimProducer(client, 100, 1_000)
    producer.send([shipment(3, done, partition=ANY_PARTITION)])
    assert sum(report is not None for report in client.reports) == 3
    client.acknowledge(2)
    assert done == []
    client.acknowledge(1)
    assert done == ["x"]


def test_a_full_queue_holds_shipments_back_in_order() -> None:
    client, done = RecordingClient(), list[str]()
    producer = ClaimProducer(client, 5, 1_000)
    producer.send([shipment(4, done, "a"), shipment(3, done, "b"), shipment(1, done, "c")])
    assert [value for _, _, value in client.sent] == [b"a0", b"a1", b"a2", b"a3"]
    assert producer.blocked
    assert producer.outstanding == 3
    assert producer.fill == 8 / 5
    client.acknowledge(4)
    producer.serve()
    assert [value for _, _, value in client.sent[4:]] == [b"b0", b"b1", b"b2", b"c0"]
    assert not producer.blocked
    assert producer.fill == 4 / 5


def test_a_failed_delivery_is_fatal_and_acknowledges_nothing() -> None:
    class Refusal:
        def str(self) -> str:
            return "message timed out"

    client, done = RecordingClient(), list[str]()
    producer = ClaimProducer(client, 5, 1_000)
    producer.send([shipment(2, done)])
    client.acknowledge(2, Refusal())
    with pytest.raises(FatalError, match="not delivered: message timed out"):
        producer.serve()
    assert done == []


FENCED = KafkaError(KafkaError._FENCED, "a gap was seen", fatal=True)


def test_a_fatal_error_of_the_client_ends_the_worker_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    client = RecordingClient()

    def poll(_: float) -> int:
        raise KafkaException(FENCED)

    monkeypatch.setattr(client, "poll", poll)
    with pytest.raises(FatalError, match="cannot go on: a gap was seen"):
        ClaimProducer(client, 5, 1_000).serve()


@pytest.mark.parametrize(
    ("refusal", "said"),
    [(KafkaException(FENCED), "a gap was seen"), (BufferError("queue full"), "[Qq]ueue full")],
    ids=["fatal", "full"],
)
def test_what_the_client_refuses_ends_the_worker_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception, said: str
) -> None:
    client = RecordingClient()

    def produce(*_: Any, **__: Any) -> None:
        raise refusal

    monkeypatch.setattr(client, "produce", produce)
    with pytest.raises(FatalError, match=f"refused a message for 'scores': .*{said}"):
        ClaimProducer(client, 5, 1_000).send([shipment(1, [])])


def test_bytes_are_bounded_as_messages_are() -> None:
    client, done = RecordingClient(), list[str]()
    producer = ClaimProducer(client, 100, 10)
    producer.send([shipment(3, done, "aa"), shipment(2, done, "bb"), shipment(5, done, "cc")])
    assert [value for _, _, value in client.sent] == [b"aa0", b"aa1", b"aa2"]
    assert (producer.blocked, producer.fill) == (True, 3.0)
    client.acknowledge(3)
    producer.serve()
    assert [value for _, _, value in client.sent[3:]] == [b"bb0", b"bb1"]
    client.acknowledge(2)
    producer.serve()
    assert (len(client.sent), producer.blocked, producer.fill) == (10, False, 1.5)
    client.acknowledge(5)
    assert (done, producer.fill) == (["aa", "bb", "cc"], 0.0)
