"""Key order: a result waits while an earlier record of its key and route in its partition is pending."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from stream.records import Flags, Integers, Rows

_EMPTY = np.empty(0, np.int32)
_SPARE = 1_024


class KeyOrder:
    """Order of one route. Rows are admitted in input order and completed in any; `complete` says which may leave.

    Two keys with one hash only wait for each other needlessly. While nothing earlier is pending, which is always so
    when batches finish in order, a completion costs one comparison.
    """

    def __init__(self, capacity: int) -> None:
        self._pending = np.zeros(capacity, np.bool_)
        self._sequence = np.zeros(capacity, np.int64)
        self._key = np.zeros(capacity, np.int64)
        self._exempt = np.zeros(capacity, np.bool_)
        self._admitted: deque[tuple[Rows, Integers]] = deque()
        self._spare = min(capacity, _SPARE)
        self._noted = 0
        self._most = self._spare
        self._held = _EMPTY
        self._next = 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Completed rows that wait for an earlier one."""
        return len(self._held)

    @property
    def noted(self) -> int:
        """Admissions that are kept in mind: no more than twice what is pending, and a few."""
        return self._noted

    def admit(self, rows: Rows, keys: Integers, exempt: Flags) -> None:
        """Note rows in input order, with a hash of (key, partition) each; an exempt row (null key) waits for nobody."""
        with self._lock:
            numbers = np.arange(self._next, self._next + len(rows))
            self._sequence[rows] = numbers
            self._next += len(rows)
            self._key[rows] = keys
            self._exempt[rows] = exempt
            self._pending[rows] = True
            self._admitted.append((rows, numbers))
            self._noted += len(rows)
            if self._noted > self._most:
                self._note_pending_alone()

    def complete(self, rows: Rows, dropped: Rows = _EMPTY) -> Rows:
        """Note rows as done; give back those that may leave now, of these and of those held, in input order.

        `dropped` rows are done as well and leave by another way: they are neither held nor given back.
        """
        with self._lock:
            self._pending[rows] = False
            self._pending[dropped] = False
            self._forget_finished()
            ready = np.concatenate((self._held, rows)) if len(self._held) else rows
            ready = ready[np.argsort(self._sequence[ready], kind="stable")]
            if len(ready) == 0 or self._sequence[ready[-1]] < self._first_pending():
                self._held = _EMPTY
                return ready
            blocked = self._blocked(ready)
            self._held = ready[blocked]
            return ready[~blocked]

    def _forget_finished(self) -> None:
        while self._admitted:
            rows, numbers = self._admitted[0]
            pending = self._are_pending(rows, numbers)
            if pending.all():
                return
            self._admitted.popleft()
            self._noted -= len(rows)
            if pending.any():
                self._admitted.appendleft((rows[pending], numbers[pending]))
                self._noted += int(pending.sum())
                return

    def _note_pending_alone(self) -> None:
        """A claim that waits long would keep all that were admitted after it in mind."""
        rows = np.flatnonzero(self._pending).astype(np.int32)
        rows = rows[np.argsort(self._sequence[rows])]
        self._admitted = deque([(rows, self._sequence[rows])])
        self._noted = len(rows)
        self._most = 2 * len(rows) + self._spare

    def _are_pending(self, rows: Rows, numbers: Integers) -> Flags:
        """A row that was finished and given out again is another record, with another number."""
        pending: Flags = self._pending[rows] & (self._sequence[rows] == numbers)
        return pending

    def _first_pending(self) -> int:
        return int(self._admitted[0][1][0]) if self._admitted else self._next

    def _blocked(self, ready: Rows) -> Flags:
        rows = np.concatenate([rows for rows, _ in self._admitted])
        numbers = np.concatenate([numbers for _, numbers in self._admitted])
        pending = self._are_pending(rows, numbers) & ~self._exempt[rows]
        rows, numbers = rows[pending], numbers[pending]
        # Admission order makes the first entry of each key its earliest pending record.
        keys, first = np.unique(self._key[rows], return_index=True)
        if len(keys) == 0:
            return np.zeros(len(ready), np.bool_)
        place = np.minimum(np.searchsorted(keys, self._key[ready]), len(keys) - 1)
        earliest = numbers[first[place]]
        same = keys[place] == self._key[ready]
        blocked: Flags = same & (earliest < self._sequence[ready]) & ~self._exempt[ready]
        return blocked
