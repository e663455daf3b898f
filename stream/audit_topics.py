"""Topics as an auditor reads them: committed records, up to the end that is there, whoever still writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream.silence import quiet_after

_ANSWER_SECONDS = 10.0
_POLL_SECONDS, _QUIET_SECONDS = 0.2, 30.0


def messages(client: Mapping[str, Any], topic: str, patience: float = _QUIET_SECONDS) -> Iterator[Message]:
    """Every committed record of a topic, from its beginning to the end that it has now.

    That end counts transactions which are still open, so it waits for their ends. Raises KafkaException, and
    TimeoutError when nothing comes for `patience` seconds of the partitions that are not read yet.
    """
    ends = {number: end for number, (begin, end) in spans(client, topic).items() if begin < end}
    consumer = _consumer(client)
    try:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in ends])
        yield from _up_to(consumer, topic, ends, patience)
    finally:
        consumer.close()


def spans(client: Mapping[str, Any], topic: str) -> dict[int, tuple[int, int]]:
    """First offset and end of each partition, what is not committed yet included."""
    consumer = _consumer(client, isolation="read_uncommitted")
    try:
        partitions = consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic].partitions
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_ANSWER_SECONDS)
            for number in partitions
        }
    finally:
        consumer.close()


def committed(client: Mapping[str, Any], topic: str, group: str) -> dict[int, int]:
    """The offset of each partition that has one. Raises LookupError where none has: the group is no reader of it."""
    consumer = _consumer({**client, "group.id": group})
    try:
        partitions = consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic].partitions
        places = [TopicPartition(topic, number) for number in partitions]
        found = consumer.committed(places, _ANSWER_SECONDS)
    finally:
        consumer.close()
    if error := next((each.error for each in found if each.error is not None), None):
        raise KafkaException(error)
    done = {each.partition: each.offset for each in found if each.offset >= 0}
    if not done:
        raise LookupError(
            f"the group {group!r} committed nothing of {topic!r}: name that of the stage, or leave --group out"
        )
    return done


def _consumer(client: Mapping[str, Any], isolation: str = "read_committed") -> Consumer:
    return Consumer(
        {
            "group.id": "claimstream-audit",
            **client,
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )


def _up_to(consumer: Consumer, topic: str, ends: dict[int, int], patience: float) -> Iterator[Message]:
    quiet = 0.0
    while ends:
        batch = consumer.consume(2_000, _POLL_SECONDS)
        quiet = quiet_after(quiet, [message.partition() for message in batch], ends, _POLL_SECONDS)
        if quiet >= patience:
            raise TimeoutError(_hanging(topic, ends, patience))
        wanted = set(ends)
        yield from _within(batch, ends)
        if finished := wanted - set(ends):
            consumer.pause([TopicPartition(topic, number) for number in finished])


def _within(batch: list[Message], ends: dict[int, int]) -> Iterator[Message]:
    """The records before the ends; takes partitions that have reached theirs out of `ends`."""
    for message in batch:
        error, partition = message.error(), message.partition()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its only name
            if not error.retriable():
                raise KafkaException(error)
            continue
        # What is called the end of a partition may be an open transaction; its offset is the next one.
        following = message.offset() + (error is None)
        if error is None and message.offset() < ends.get(partition, 0):
            yield message
        if following >= ends.get(partition, following + 1):
            del ends[partition]


def _hanging(topic: str, ends: Mapping[int, int], seconds: float) -> str:
    partitions = ", ".join(map(str, sorted(ends)))
    return (
        f"{topic!r} brought nothing for {seconds:g} s before the end of partitions {partitions}: a transaction may be "
        "open there; audit when its producer has ended it, and end one that was left hanging with kafka-transactions.sh"
    )
