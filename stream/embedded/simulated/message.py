"""Records as the log keeps them, and messages as the clients hand them out."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException

Headers = list[tuple[str, bytes | None]]
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a log. `timestamp`: milliseconds since the epoch. `producer`: whose transaction it belongs to."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None
    timestamp: int
    producer: int | None = None
    control: bool = False


class Message:
    """What confluent_kafka's Message tells, of a record or of an error."""

    def __init__(
        self,
        topic: str | None,
        partition: int,
        record: Record | None,
        error: KafkaError | None = None,
        text: bytes | None = None,
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._record = record
        self._error = error
        self._text = text

    def topic(self) -> str | None:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int | None:
        return self._record.offset if self._record is not None and self._record.offset >= 0 else None

    def key(self) -> bytes | None:
        return self._record.key if self._record is not None else None

    def value(self) -> bytes | None:
        """The record's; of an error without a record, its text."""
        return self._record.value if self._record is not None else self._text

    def headers(self) -> Headers | None:
        return self._record.headers if self._record is not None else None

    def timestamp(self) -> tuple[int, int]:
        if self._record is None or self._record.offset < 0:
            return TIMESTAMP_NOT_AVAILABLE, -1
        return TIMESTAMP_CREATE_TIME, self._record.timestamp

    def error(self) -> KafkaError | None:
        return self._error

    def leader_epoch(self) -> int | None:
        return 0 if self._record is not None else None

    def latency(self) -> float | None:
        return None

    def __len__(self) -> int:
        return len(self.value() or b"")


def failure(
    code: int, reason: str, *, fatal: bool = False, retriable: bool = False, abort: bool = False
) -> KafkaException:
    """The exception that the real client raises, with its flags."""
    return KafkaException(
        KafkaError(code, reason, fatal=fatal, retriable=retriable, txn_requires_abort=abort)
    )
