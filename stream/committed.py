"""What a group has committed: offsets, and what is complete beyond them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream import offset_metadata
from stream.errors import FatalError
from stream.offset_metadata import NOTHING
from stream.producer import Shipment
from stream.records import Flags, Integers, Positions


def read_committed(
    new_client: Callable[[], Consumer], topic: str, partitions: Sequence[int], seconds: float
) -> dict[int, tuple[int, Integers]]:
    """Committed offset of each partition, and the runs beyond it, by a client of its own that joins no group.

    Raises KafkaException, and ValueError for metadata that cannot be read.
    """
    client = new_client()
    try:
        answers = client.committed([TopicPartition(topic, partition) for partition in partitions], seconds)
    finally:
        client.close()
    for answer in answers:
        if answer.error is not None:
            raise KafkaException(answer.error)
    return {answer.partition: (answer.offset, runs(answer)) for answer in answers}


def runs(committed: TopicPartition) -> Integers:
    """What is complete beyond a committed offset. ValueError, which says why, for metadata that cannot be read."""
    if committed.offset < 0 or not committed.metadata:
        return NOTHING
    return offset_metadata.read(committed.offset, committed.metadata)


def sorted_out(
    shipments: Sequence[Shipment], completed: Mapping[int, tuple[int, Integers]]
) -> tuple[list[Shipment], list[Shipment]]:
    """Shipments that were committed, and the others. Raises FatalError for one of which only a part was."""
    done: list[Shipment] = []
    rest: list[Shipment] = []
    for shipment in shipments:
        covered = covered_by(completed, shipment.positions)
        if covered.any() and not covered.all():
            raise FatalError("a transaction was committed in part: somebody else commits for this group")
        (done if covered.all() else rest).append(shipment)
    return done, rest


def covered_by(completed: Mapping[int, tuple[int, Integers]], positions: Positions) -> Flags:
    """Which positions were committed, by partition: below the offset, or in the runs beyond it."""
    covered = positions.offsets < 0
    for partition, (offset, beyond) in completed.items():
        mine = positions.partitions == partition
        covered |= mine & (positions.offsets < offset)
        if len(beyond):
            covered |= mine & offset_metadata.contains(beyond, positions.offsets)
    return covered
