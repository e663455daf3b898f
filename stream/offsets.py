"""The offset ledger: what was taken from each owned partition, what is delivered, and how far a commit may go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.records import Flags, Integers, distinct

_INITIAL = 1024


class PartitionLedger:
    """Offsets of one partition under one assignment, in the order taken.

    Completions come in any order; `committable` is one past the contiguous completed prefix. Offsets may have gaps
    (compaction, transaction markers): what was never taken is never waited for.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.committable: int | None = None
        self._offsets = np.zeros(_INITIAL, np.int64)
        self._done = np.zeros(_INITIAL, np.bool_)
        self._head = 0
        self._tail = 0

    @property
    def pending(self) -> int:
        """Taken offsets that the contiguous prefix does not cover yet."""
        return self._tail - self._head

    def take(self, offsets: Integers) -> None:
        """Note offsets, ascending and above all taken before; ValueError otherwise."""
        if len(offsets) == 0:
            return
        last = self._offsets[self._tail - 1] if self._tail else -1
        if offsets[0] <= last or np.any(np.diff(offsets) <= 0):
            raise ValueError(f"offsets from {offsets[0]} do not ascend beyond {last}")
        self._make_room(len(offsets))
        end = self._tail + len(offsets)
        self._offsets[self._tail : end] = offsets
        self._done[self._tail : end] = False
        self._tail = end

    def complete(self, offsets: Integers) -> None:
        """Note delivered offsets; ValueError for one that was never taken."""
        live = self._offsets[: self._tail]
        places = np.searchsorted(live, offsets)
        if np.any(places >= self._tail) or np.any(live[np.minimum(places, self._tail - 1)] != offsets):
            raise ValueError("an offset was completed that was never taken")
        self._done[places] = True
        self._advance()

    def _advance(self) -> None:
        ahead = self._done[self._head : self._tail]
        run = len(ahead) if ahead.all() else int(np.argmin(ahead))
        if run:
            self._head += run
            self.committable = int(self._offsets[self._head - 1]) + 1

    def _make_room(self, count: int) -> None:
        if self._tail + count <= len(self._offsets):
            return
        # One delivered offset stays in front, so that order against what was taken before can still be checked.
        keep = max(self._head - 1, 0)
        live = self._tail - keep
        size = max(len(self._offsets), 2 * (live + count))
        self._offsets = _moved(self._offsets[keep : self._tail], size)
        self._done = _moved(self._done[keep : self._tail], size)
        self._head, self._tail = self._head - keep, live


class OffsetLedger:
    """The ledgers of all owned partitions. One short lock guards them; it is never held across a client call.

    An assignment gets a fresh epoch; whatever carries an older one is ignored.
    """

    def __init__(self) -> None:
        self._partitions: dict[int, PartitionLedger] = {}
        self._committed: dict[int, int] = {}
        self._next_epoch = 1
        self._lock = threading.Lock()

    def assign(self, partitions: Iterable[int]) -> None:
        """Begin a fresh epoch for each partition."""
        with self._lock:
            for partition in partitions:
                self._partitions[partition] = PartitionLedger(self._next_epoch)
                self._committed.pop(partition, None)
                self._next_epoch += 1

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop partitions that are no longer owned, with all that is pending in them."""
        with self._lock:
            for partition in partitions:
                self._partitions.pop(partition, None)
                self._committed.pop(partition, None)

    def owned(self) -> list[int]:
        with self._lock:
            return sorted(self._partitions)

    def epochs(self, partitions: Integers) -> Integers:
        """The current epoch of each record's partition; 0 where the partition is not owned."""
        with self._lock:
            known = {number: ledger.epoch for number, ledger in self._partitions.items()}
        result = np.zeros(len(partitions), np.int64)
        for partition in distinct(partitions):
            result[partitions == partition] = known.get(partition, 0)
        return result

    def current(self, partitions: Integers, epochs: Integers) -> Flags:
        """Which records still belong to the assignment under which they were read."""
        current: Flags = (epochs != 0) & (self.epochs(partitions) == epochs)
        return current

    def take(self, partitions: Integers, offsets: Integers, epochs: Integers) -> None:
        """Note the records of a poll as in flight."""
        self._each(partitions, offsets, epochs, PartitionLedger.take)

    def complete(self, partitions: Integers, offsets: Integers, epochs: Integers) -> None:
        """Note records whose results or dead letters were acknowledged."""
        self._each(partitions, offsets, epochs, PartitionLedger.complete)

    def pending(self, partitions: Iterable[int] | None = None) -> int:
        """Records in flight, in all owned partitions or in some."""
        with self._lock:
            chosen = self._partitions if partitions is None else partitions
            return sum(self._partitions[p].pending for p in chosen if p in self._partitions)

    def committable(self, partitions: Iterable[int] | None = None) -> dict[int, int]:
        """Next offset to commit of each partition whose contiguous prefix grew since the last commit."""
        with self._lock:
            chosen = self._partitions if partitions is None else partitions
            return {
                p: offset
                for p in chosen
                if (ledger := self._partitions.get(p)) is not None
                and (offset := ledger.committable) is not None
                and self._committed.get(p) != offset
            }

    def committed(self, offsets: Mapping[int, int]) -> None:
        """Note what a commit covered."""
        with self._lock:
            for partition, offset in offsets.items():
                if partition in self._partitions:
                    self._committed[partition] = offset

    def uncommitted(self, partitions: Iterable[int]) -> None:
        """Note that a commit failed: it is to be made again, whether or not more is delivered."""
        with self._lock:
            for partition in partitions:
                self._committed.pop(partition, None)

    def _each(
        self,
        partitions: Integers,
        offsets: Integers,
        epochs: Integers,
        act: Callable[[PartitionLedger, Integers], None],
    ) -> None:
        with self._lock:
            for partition in distinct(partitions):
                ledger = self._partitions.get(partition)
                if ledger is None:
                    continue
                act(ledger, offsets[(partitions == partition) & (epochs == ledger.epoch)])


def _moved(live: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    room = np.zeros(size, live.dtype)
    room[: len(live)] = live
    return room
