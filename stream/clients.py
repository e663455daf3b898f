"""librdkafka settings: what claimstream needs of its clients, over what the user passes through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream.errors import UsageError

Options = Mapping[str, Any]

# Prefetched records are bounded in bytes; a back-off of the default second would leave a full queue unfilled that long.
_CONSUMER: dict[str, Any] = {
    "auto.offset.reset": "earliest",
    "fetch.queue.backoff.ms": 5,
    # A partition that was just assigned waits for the fetch under way, which an idle topic holds for this long.
    "fetch.wait.max.ms": 100,
    "queued.min.messages": 200_000,
    "queued.max.messages.kbytes": 65_536,
    "partition.assignment.strategy": "cooperative-sticky",
    "heartbeat.interval.ms": 300,
    "session.timeout.ms": 10_000,
    "isolation.level": "read_committed",
    # Partitions that are added are noticed within this; claims in them would wait for the default five minutes.
    "topic.metadata.refresh.interval.ms": 10_000,
}

_PRODUCER: dict[str, Any] = {
    "linger.ms": 2,
    "batch.num.messages": 10_000,
    "retry.backoff.ms": 20,
    "partitioner": "murmur2_random",
    # A dead letter is its record and the reasons beside it; the broker's own limit is what counts.
    "message.max.bytes": 4_194_304,
}

# The broker asks to come back while it still completes the transaction before: with 100 ms that is what a commit takes.
_TRANSACTIONAL: dict[str, Any] = {"retry.backoff.ms": 5, "retry.backoff.max.ms": 100}

# What the broker decides by the group protocol of KIP-848, and the client refuses.
_DECIDED_ELSEWHERE = ("partition.assignment.strategy", "heartbeat.interval.ms", "session.timeout.ms")

# A transaction that its producer left open blocks readers and the partition's next owner for so long.
_TRANSACTION_MS = 10_000


def consumer_options(
    bootstrap: str, group: str, shared: Options, own: Options, member: str | None = None
) -> dict[str, Any]:
    """Options of the group member; offsets are committed by the ledger alone. `member`: its static name."""
    theirs = {**shared, **own}
    refused = _DECIDED_ELSEWHERE if str(theirs.get("group.protocol")).lower() == "consumer" else ()
    merged = {**{name: value for name, value in _CONSUMER.items() if name not in refused}, **theirs}
    required = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
    }
    return {**merged, **required, **({"group.instance.id": member} if member else {})}


def begins_at_end(options: Options) -> bool:
    """Whether a group that has committed nothing leaves out what is there."""
    return options["auto.offset.reset"] in ("latest", "largest", "end")


def producer_options(bootstrap: str, queue_limit: int, shared: Options, own: Options) -> dict[str, Any]:
    """Options of an idempotent producer without gaps, whose queue holds `queue_limit` messages.

    Messages wait for as long as the cluster is away; the bounded queue stops reading meanwhile.
    """
    required = {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "enable.gapless.guarantee": True,
        "acks": "all",
        # A message that timed out would be the one gap that the guarantee does not cover: none ever does.
        "message.timeout.ms": 0,
        "queue.buffering.max.messages": queue_limit,
        "queue.buffering.max.kbytes": 2_097_151,
    }
    return {**_PRODUCER, **shared, **own, **required}


def largest_message(shared: Options, own: Options) -> int:
    """Bytes of a message that the producer takes. Raises UsageError."""
    value = {**_PRODUCER, **shared, **own}["message.max.bytes"]
    try:
        return int(value)
    except ValueError as error:
        raise UsageError(f"message.max.bytes is {value!r}, which is no number of bytes") from error


def transactional_options(
    bootstrap: str, queue_limit: int, shared: Options, own: Options, name: str
) -> dict[str, Any]:
    """Options of a producer that commits transactions under a name, which fences whoever had it before.

    `queue_limit`: messages that may be in flight. One transaction may hold more than half of them and a shipment of as
    many again: a queue too short for it would fail in the same way each time that it is made again.
    """
    required = {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "acks": "all",
        "transactional.id": name,
        "transaction.timeout.ms": _TRANSACTION_MS,
        "message.timeout.ms": _TRANSACTION_MS,
        "queue.buffering.max.messages": 2 * queue_limit,
        "queue.buffering.max.kbytes": 2_097_151,
    }
    return {**_PRODUCER, **_TRANSACTIONAL, **shared, **own, **required}
