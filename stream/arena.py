"""The row arena: preallocated columns for every claim in flight, so that a claim is a row number and nothing more."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models import ColumnShape
from stream.records import Headers, Integers, Polled, Position, Rows, distinct


class ClaimArena:
    """Columns of `capacity` rows. Intake allocates and fills rows, output releases them; both may run at once.

    Features are kept once per feature spec, whichever and however many models read them; those of one claim lie side by
    side, so that a micro-batch is gathered in one copy.
    """

    def __init__(self, capacity: int, models_per_route: int) -> None:
        self.capacity = capacity
        self.features: dict[str, npt.NDArray[np.void]] = {}
        self.value = np.full(capacity, None, dtype=object)
        self.key = np.full(capacity, None, dtype=object)
        self.claim_id = np.full(capacity, None, dtype=object)
        self.headers: dict[int, Headers] = {}
        self.claim_type = np.full(capacity, None, dtype=object)
        self.partition = np.zeros(capacity, np.int64)
        self.offset = np.zeros(capacity, np.int64)
        self.epoch = np.zeros(capacity, np.int64)
        self.timestamp = np.zeros(capacity, np.int64)
        self.deadline = np.zeros(capacity, np.float64)
        self.size = np.zeros(capacity, np.int64)
        self.route = np.zeros(capacity, np.int32)
        self.hop = np.zeros(capacity, np.int8)
        self.started = np.zeros(capacity, np.float64)
        self.inference = np.zeros(capacity, np.float32)
        self.score = np.zeros((capacity, models_per_route), np.float32)
        self.decision = np.zeros((capacity, models_per_route), np.int32)
        self.model = np.zeros((capacity, models_per_route), np.int32)
        self._free = np.arange(capacity, dtype=np.int32)
        self._free_count = capacity
        self._bytes = 0
        self._lock = threading.Lock()

    def add_spec(self, digest: str, columns: Mapping[str, ColumnShape]) -> None:
        """Room for the tensors of one more feature spec; nothing happens for a known one."""
        if digest not in self.features:
            fields = [(name, column.dtype, column.shape) for name, column in columns.items()]
            self.features[digest] = np.zeros(self.capacity, np.dtype(fields, align=True))

    def keep_specs(self, digests: Collection[str]) -> None:
        """Let the columns of all other specs go."""
        self.features = {digest: columns for digest, columns in self.features.items() if digest in digests}

    def lanes(self) -> set[int]:
        """The lanes that rows in use were given, and perhaps some more."""
        used = np.ones(self.capacity, np.bool_)
        with self._lock:
            used[self._free[: self._free_count]] = False
        return set(distinct(self.model[used].ravel()))

    @property
    def in_flight(self) -> int:
        """Rows in use."""
        return self.capacity - self._free_count

    @property
    def free(self) -> int:
        """Rows that can be admitted now."""
        return self._free_count

    @property
    def bytes_held(self) -> int:
        """Raw bytes (keys, values, headers) retained by the rows in use."""
        return self._bytes

    def admit(self, polled: Polled, source: Integers, deadlines: npt.NDArray[np.float64]) -> Rows:
        """Copy the records at `source` of a poll into fresh rows and return these, in the same order.

        Raises MemoryError when fewer rows are free; the caller reads no more than fits.
        """
        rows = self._allocate(len(source))
        whole = len(source) == len(polled)
        indices = source.tolist()
        values = polled.values if whole else [polled.values[i] for i in indices]
        keys = polled.keys if whole else [polled.keys[i] for i in indices]
        sizes = np.fromiter(map(len, values), np.int64, len(rows))  # type: ignore[arg-type]
        sizes += np.fromiter((len(key or b"") for key in keys), np.int64, len(rows))
        self.value[rows] = np.fromiter(values, object, len(rows))
        self.key[rows] = np.fromiter(keys, object, len(rows))
        self.partition[rows] = polled.partitions[source]
        self.offset[rows] = polled.offsets[source]
        self.epoch[rows] = polled.epochs[source]
        self.timestamp[rows] = polled.timestamps[source]
        self.deadline[rows] = deadlines[source]
        self.hop[rows] = 0
        self.inference[rows] = 0.0
        if polled.headers:
            sizes += self._keep_headers(polled.headers, indices, rows)
        self.size[rows] = sizes
        with self._lock:
            self._bytes += int(sizes.sum())
        return rows

    def release(self, rows: Rows) -> None:
        """Give rows back; their bytes are let go."""
        if len(rows) == 0:
            return
        self.value[rows] = None
        self.key[rows] = None
        self.claim_id[rows] = None
        if self.headers:
            for row in rows.tolist():
                self.headers.pop(row, None)
        freed = int(self.size[rows].sum())
        with self._lock:
            self._free[self._free_count : self._free_count + len(rows)] = rows
            self._free_count += len(rows)
            self._bytes -= freed

    def store_features(self, digest: str, rows: Rows, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Write one spec's tensors, each of shape (len(rows), ...), into its columns."""
        columns = self.features[digest]
        for name, tensor in tensors.items():
            columns[name][rows] = tensor

    def gather(self, digest: str, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        """A copy of a spec's features for a micro-batch."""
        copied = self.features[digest].take(rows)
        return {name: copied[name] for name in copied.dtype.names or ()}

    def position(self, row: int) -> Position:
        return Position(int(self.partition[row]), int(self.offset[row]), int(self.epoch[row]))

    def _allocate(self, count: int) -> Rows:
        with self._lock:
            if count > self._free_count:
                raise MemoryError(f"{count} rows asked of the arena, {self._free_count} free")
            self._free_count -= count
            return self._free[self._free_count : self._free_count + count].copy()

    def _keep_headers(self, headers: Mapping[int, Headers], indices: list[int], rows: Rows) -> Integers:
        """Their bytes, shape (len(rows),)."""
        sizes = np.zeros(len(rows), np.int64)
        for place, (index, row) in enumerate(zip(indices, rows.tolist(), strict=True)):
            if index in headers:
                self.headers[row] = headers[index]
                sizes[place] = sum(len(name) + len(value or b"") for name, value in headers[index])
        return sizes
