"""What travels between the stages. Claims travel as columns; a claim in flight is a row number of the arena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.errors import RecordError

Rows = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a record lies in its topic, and under which assignment of its partition it was read."""

    partition: int
    offset: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Positions:
    """The same of several records, in columns."""

    partitions: Integers
    offsets: Integers
    epochs: Integers

    def __len__(self) -> int:
        return len(self.offsets)

    @classmethod
    def of(cls, position: Position) -> Positions:
        """A single one."""
        return cls(*(np.array([number]) for number in (position.partition, position.offset, position.epoch)))

    @classmethod
    def joined(cls, parts: Sequence[Positions]) -> Positions:
        """All of them, in order."""
        if not parts:
            return cls(*(np.empty(0, np.int64) for _ in range(3)))
        columns = ((part.partitions, part.offsets, part.epochs) for part in parts)
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))


@dataclass(frozen=True, slots=True)
class Polled:
    """One poll in columns; every column has one entry a record. Timestamps are milliseconds since the epoch."""

    values: list[bytes | None]
    keys: list[bytes | None]
    headers: Mapping[int, Headers]
    partitions: Integers
    offsets: Integers
    epochs: Integers
    timestamps: Integers

    def __len__(self) -> int:
        return len(self.values)

    def position(self, row: int) -> Position:
        return Position(int(self.partitions[row]), int(self.offsets[row]), int(self.epochs[row]))

    def only(self, chosen: Flags) -> Polled:
        """The chosen records alone."""
        rows = np.flatnonzero(chosen)
        places = {row: place for place, row in enumerate(rows.tolist())}
        return Polled(
            values=[self.values[row] for row in places],
            keys=[self.keys[row] for row in places],
            headers={places[row]: headers for row, headers in self.headers.items() if row in places},
            partitions=self.partitions[rows],
            offsets=self.offsets[rows],
            epochs=self.epochs[rows],
            timestamps=self.timestamps[rows],
        )


def distinct(numbers: npt.NDArray[np.signedinteger[Any]]) -> list[int]:
    """The different values among small non-negative numbers such as partitions; far cheaper than sorting them."""
    return np.flatnonzero(np.bincount(numbers)).tolist()


def ages(timestamps: Integers, wall: float | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Seconds since records were written; one without a timestamp, or with one in the future, was written now."""
    return np.where(timestamps > 0, np.maximum(wall - timestamps / 1_000.0, 0.0), 0.0)


def known_ages(timestamps: Integers, wall: float) -> npt.NDArray[np.float64]:
    """The same of those records alone that have a timestamp."""
    return ages(timestamps[timestamps > 0], wall)


class CloseReason(Enum):
    """Why a micro-batch was closed."""

    SIZE = "size"
    DEADLINE = "deadline"
    IDLE = "idle"
    DRAIN = "drain"
    LATE = "late"


class MicroBatch(NamedTuple):
    """Rows of one lane that are scored together."""

    lane: int
    rows: Rows
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class Failure:
    """A claim that its model could not score."""

    row: int
    lane: int
    error: RecordError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a micro-batch: rows whose scores stand in the arena, and claims that failed.

    `at`: when its forward ended, seconds on the monotonic clock. `unscored`: rows that are to be scored later.
    """

    rows: Rows
    failures: tuple[Failure, ...] = ()
    at: float = 0.0
    unscored: Rows = field(default_factory=lambda: np.empty(0, np.int32))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record as it came, and why it could not be scored."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    position: Position
    error: RecordError
    model: str = ""
    version: str = ""
