"""A partition: records in order, idempotent appends, open and aborted transactions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from confluent_kafka import KafkaError

from stream.embedded.simulated.faults import RefusedError
from stream.embedded.simulated.message import Record


@dataclass(frozen=True, slots=True)
class Author:
    """An idempotent producer as the log knows it, and the number of its next record in this partition."""

    producer: int
    epoch: int
    sequence: int
    transactional: bool


@dataclass(slots=True)
class _Known:
    epoch: int
    offsets: list[int] = field(default_factory=list)


class PartitionLog:
    """Offsets count from 0 and are places in a list; control records take one each."""

    def __init__(self, largest: int) -> None:
        self._records: list[Record] = []
        self._largest = largest
        self._known: dict[int, _Known] = {}
        self._open: dict[int, list[int]] = {}
        self._aborted: set[int] = set()

    @property
    def end(self) -> int:
        """The high watermark."""
        return len(self._records)

    @property
    def stable(self) -> int:
        """The last stable offset: nothing before it belongs to an open transaction."""
        return min((offsets[0] for offsets in self._open.values()), default=self.end)

    def check(self, record: Record) -> None:
        """Raises RefusedError for a record that is too large."""
        if len(record.value or b"") + len(record.key or b"") > self._largest:
            raise RefusedError(KafkaError.MSG_SIZE_TOO_LARGE)

    def append(self, record: Record, author: Author | None) -> int:
        """Its offset; that of the first time for a record sent again. Raises RefusedError."""
        self.check(record)
        if author is None:
            return self._add(record)
        known = self._meet(author.producer, author.epoch)
        if author.epoch < known.epoch:
            raise RefusedError(KafkaError.INVALID_PRODUCER_EPOCH)
        if author.sequence < len(known.offsets):
            return known.offsets[author.sequence]
        if author.sequence > len(known.offsets):
            raise RefusedError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
        offset = self._add(replace(record, producer=author.producer if author.transactional else None))
        known.offsets.append(offset)
        if author.transactional:
            self._open.setdefault(author.producer, []).append(offset)
        return offset

    def mark(self, producer: int, epoch: int, timestamp: int, *, commit: bool) -> None:
        """A control record ends the producer's transaction here; its earlier epochs write no more."""
        self._meet(producer, epoch)
        offsets = self._open.pop(producer, [])
        if not commit:
            self._aborted.update(offsets)
        self._add(Record(-1, None, None, None, timestamp, producer, control=True))

    def read(self, start: int, limit: int, *, committed: bool) -> Iterator[tuple[int, Record | None]]:
        """(next offset, record) from `start` on; None where a reader passes over one."""
        last = min(self.stable if committed else self.end, start + limit)
        for offset in range(start, last):
            record = self._records[offset]
            hidden = record.control or (committed and offset in self._aborted)
            yield offset + 1, None if hidden else record

    def _meet(self, producer: int, epoch: int) -> _Known:
        """A new epoch counts its records anew."""
        known = self._known.setdefault(producer, _Known(epoch))
        if epoch > known.epoch:
            known.epoch, known.offsets = epoch, []
        return known

    def _add(self, record: Record) -> int:
        offset = len(self._records)
        self._records.append(replace(record, offset=offset))
        return offset
