"""The offset ledger: what was taken from each owned partition, what is delivered, and how far a commit may go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream import offset_metadata
from stream.offset_metadata import MOST_INTEGERS, MOST_OFFSETS, NOTHING
from stream.records import Flags, Integers, Positions, distinct

_INITIAL = 1024


@dataclass(frozen=True, slots=True)
class Standing:
    """What a commit says of a partition: the offset to go on at, and as text what is complete beyond it."""

    offset: int
    beyond: str = ""


class PartitionLedger:
    """Offsets of one partition under one assignment, in the order taken.

    Completions come in any order. Offsets may have gaps (compaction, transaction markers): what was never taken is
    never waited for. `inherited` are the runs that earlier owners completed beyond their last commit; such a record
    counts as complete when it is taken.
    """

    def __init__(self, epoch: int, inherited: Integers = NOTHING) -> None:
        self.epoch = epoch
        self.pending = 0
        self.changed = False
        self.committed: Standing | None = None
        self._inherited = inherited
        self._offsets = np.zeros(_INITIAL, np.int64)
        self._done = np.zeros(_INITIAL, np.bool_)
        self._head = 0
        self._tail = 0

    @property
    def committable(self) -> int | None:
        """One past the contiguous completed prefix; where there is none, the first offset taken, if any."""
        if self._head:
            return int(self._offsets[self._head - 1]) + 1
        return int(self._offsets[0]) if self._tail else None

    def fits(self, offsets: Integers) -> Flags:
        """Which of the next offsets may be taken: whatever completes of them must fit into a commit's metadata.

        The records that may are the first ones; when nothing is pending there is at least one.
        """
        base = self.committable
        first = int(offsets[0]) if base is None else base
        if offsets[-1] < first + MOST_OFFSETS:
            return np.ones(len(offsets), np.bool_)
        beyond = self._unread()
        # Where the records of a run were removed meanwhile, nothing is told of it any more once these are taken.
        beyond = beyond[beyond[:, 1] > offsets[0]]
        # Earlier owners took nothing that would not fit; so what lies below the end of theirs does.
        known = int(beyond[-1, 1]) if len(beyond) else first
        few = MOST_INTEGERS - 1 - 2 * len(beyond) - (self._tail - self._head)
        return (offsets < known) | (offsets < first + MOST_OFFSETS) | (np.arange(1, len(offsets) + 1) <= few)

    @property
    def roomy(self) -> bool:
        """Whether what is pending fills less than half of what fits."""
        if self._head == self._tail:
            return True
        span = self._offsets[self._tail - 1] - self._offsets[self._head]
        return bool(span < MOST_OFFSETS // 2) or self._tail - self._head < MOST_INTEGERS // 2

    def take(self, offsets: Integers) -> Flags:
        """Note offsets, ascending and above all taken before; which of them are not complete already.

        ValueError where they do not ascend.
        """
        if len(offsets) == 0:
            return np.zeros(0, np.bool_)
        last = self._offsets[self._tail - 1] if self._tail else -1
        if offsets[0] <= last or np.any(np.diff(offsets) <= 0):
            raise ValueError(f"offsets from {offsets[0]} do not ascend beyond {last}")
        self._make_room(len(offsets))
        start, end = self._tail, self._tail + len(offsets)
        self._offsets[start:end] = offsets
        self._done[start:end] = False
        self._tail = end
        if len(self._inherited) == 0:
            self.pending += len(offsets)
            return np.ones(len(offsets), np.bool_)
        self._done[start:end] = offset_metadata.contains(self._inherited, offsets)
        fresh: Flags = ~self._done[start:end]
        self.pending += int(fresh.sum())
        self._inherited = self._unread()
        self._advance()
        return fresh

    def complete(self, offsets: Integers) -> None:
        """Note delivered offsets; ValueError for one that was never taken."""
        places = self._places(offsets)
        self.pending -= len(places) - int(self._done[places].sum())
        self._done[places] = True
        self._advance()

    def give_up(self, offsets: Integers) -> None:
        """Wait for these pending offsets no more: nothing of them is committed. ValueError where one is complete."""
        if self._done[self._places(offsets)].any():
            raise ValueError("an offset was given up that is complete")
        self.pending -= len(offsets)

    def standing(self, also: Integers | None = None) -> Standing | None:
        """What to commit, `also` once offsets that were taken are completed; None where nothing was completed."""
        if self._tail == 0:
            return None
        done = self._done[self._head : self._tail]
        if also is not None:
            done = done.copy()
            done[self._places(also) - self._head] = True
        run = _leading(done)
        beyond = self._beyond(done, run)
        if not self._head + run and len(beyond) == 0:
            return None
        offset = int(self._offsets[self._head + run - 1]) + 1 if self._head + run else int(self._offsets[0])
        return Standing(offset, offset_metadata.written(offset, beyond))

    def beyond(self) -> Integers:
        """The runs that are complete beyond the contiguous prefix. Gaps between offsets taken belong to a run."""
        return self._beyond(self._done[self._head : self._tail], 0)

    def _beyond(self, done: Flags, run: int) -> Integers:
        """The same, where the first `run` of those flags belong to the prefix."""
        offsets, done = self._offsets[self._head + run : self._tail], done[run:]
        if len(done) == 0:
            return self._inherited
        edges = np.flatnonzero(np.diff(done.view(np.int8), prepend=0, append=0))
        mine = np.stack((offsets[edges[::2]], offsets[edges[1::2] - 1] + 1), axis=1)
        return _joined(mine, self._inherited)

    def _places(self, offsets: Integers) -> Integers:
        live = self._offsets[: self._tail]
        places: Integers = np.searchsorted(live, offsets)
        if np.any(places >= self._tail) or np.any(live[np.minimum(places, self._tail - 1)] != offsets):
            raise ValueError("an offset was completed that was never taken")
        return places

    def _unread(self) -> Integers:
        """The inherited runs, or parts of them, beyond the last offset taken."""
        if len(self._inherited) == 0 or self._tail == 0:
            return self._inherited
        read_to = int(self._offsets[self._tail - 1]) + 1
        ahead = self._inherited[self._inherited[:, 1] > read_to]
        return np.maximum(ahead, read_to)

    def _advance(self) -> None:
        self.changed = True
        self._head += _leading(self._done[self._head : self._tail])

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
        self._next_epoch = 1
        self._lock = threading.Lock()

    def assign(self, partitions: Iterable[int]) -> None:
        """Begin a fresh epoch for each partition."""
        with self._lock:
            for partition in partitions:
                self._begin(partition, NOTHING)

    def inherit(self, partition: int, runs: Integers) -> None:
        """What earlier owners completed beyond their last commit; before anything is taken."""
        with self._lock:
            if partition in self._partitions:
                self._begin(partition, runs)

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop partitions that are no longer owned, with all that is pending in them."""
        with self._lock:
            for partition in partitions:
                self._partitions.pop(partition, None)

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

    def fits(self, partition: int, offsets: Integers) -> int:
        """How many of the next offsets of an owned partition may be taken now."""
        with self._lock:
            return int(self._partitions[partition].fits(offsets).sum())

    def roomy(self, partition: int) -> bool:
        """Whether an owned partition that was not read further may be read again."""
        with self._lock:
            return self._partitions[partition].roomy

    def take(self, partitions: Integers, offsets: Integers, epochs: Integers) -> Flags:
        """Note the records of a poll as in flight; which of them are to be scored.

        The others are complete already, or no longer owned.
        """
        fresh = np.zeros(len(offsets), np.bool_)

        def take(ledger: PartitionLedger, chosen: Flags) -> None:
            fresh[chosen] = ledger.take(offsets[chosen])

        self._each(partitions, epochs, take)
        return fresh

    def complete(self, partitions: Integers, offsets: Integers, epochs: Integers) -> None:
        """Note records whose results or dead letters were acknowledged."""
        self._each(partitions, epochs, lambda ledger, chosen: ledger.complete(offsets[chosen]))

    def give_up(self, partitions: Integers, offsets: Integers, epochs: Integers) -> None:
        """Leave records that are in flight to the next owner of their partition."""
        self._each(partitions, epochs, lambda ledger, chosen: ledger.give_up(offsets[chosen]))

    def pending(self, partitions: Iterable[int] | None = None) -> int:
        """Records in flight, in all owned partitions or in some."""
        with self._lock:
            chosen = self._partitions if partitions is None else partitions
            return sum(self._partitions[p].pending for p in chosen if p in self._partitions)

    def committable(self, partitions: Iterable[int] | None = None) -> dict[int, Standing]:
        """What to commit of each partition in which something was completed since the last commit."""
        with self._lock:
            chosen = self._partitions if partitions is None else partitions
            found = {p: self._news(ledger) for p in chosen if (ledger := self._partitions.get(p)) is not None}
        return {partition: standing for partition, standing in found.items() if standing is not None}

    def foreseen(self, also: Positions) -> dict[int, Standing] | None:
        """What to commit once these records are completed; None where one of them is no longer ours."""
        mine = {partition: also.partitions == partition for partition in distinct(also.partitions)}
        found: dict[int, Standing | None] = {}
        with self._lock:
            for partition, chosen in mine.items():
                ledger = self._partitions.get(partition)
                # Within the lock: it may be lost and come back between two looks.
                if ledger is None or np.any(also.epochs[chosen] != ledger.epoch):
                    return None
                found[partition] = ledger.standing(also.offsets[chosen])
            others = [partition for partition in self._partitions if partition not in mine]
            found |= {partition: self._news(self._partitions[partition]) for partition in others}
        return {partition: standing for partition, standing in found.items() if standing is not None}

    def committed(self, standings: Mapping[int, Standing]) -> None:
        """Note what a commit covered."""
        with self._lock:
            for partition, standing in standings.items():
                if (ledger := self._partitions.get(partition)) is not None:
                    ledger.committed = standing

    def uncommitted(self, partitions: Iterable[int]) -> None:
        """Note that a commit failed: it is to be made again."""
        with self._lock:
            for partition in partitions:
                if (ledger := self._partitions.get(partition)) is not None:
                    ledger.committed, ledger.changed = None, True

    def _news(self, ledger: PartitionLedger) -> Standing | None:
        if not ledger.changed:
            return None
        standing = ledger.standing()
        ledger.changed = standing is not None and standing != ledger.committed
        return standing if ledger.changed else None

    def _begin(self, partition: int, inherited: Integers) -> None:
        self._partitions[partition] = PartitionLedger(self._next_epoch, inherited)
        self._next_epoch += 1

    def _each(
        self, partitions: Integers, epochs: Integers, act: Callable[[PartitionLedger, Flags], None]
    ) -> None:
        with self._lock:
            for partition in distinct(partitions):
                ledger = self._partitions.get(partition)
                if ledger is None:
                    continue
                act(ledger, (partitions == partition) & (epochs == ledger.epoch))


def _leading(done: Flags) -> int:
    """How many flags are set before the first that is not."""
    return len(done) if done.all() else int(np.argmin(done))


def _joined(runs: Integers, more: Integers) -> Integers:
    """Both sets, of which the second lies beyond the first."""
    if len(more) == 0 or len(runs) == 0:
        return runs if len(runs) else more
    if runs[-1, 1] == more[0, 0]:
        more = more.copy()
        more[0, 0] = runs[-1, 0]
        runs = runs[:-1]
    return np.concatenate((runs, more))


def _moved(live: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    room = np.zeros(size, live.dtype)
    room[: len(live)] = live
    return room
