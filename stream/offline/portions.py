"""A file's claims in portions of one size, whatever the stretches in which they are read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.publishing import ClaimRows, ClaimSource, Counts, Reject


@dataclass(frozen=True, slots=True)
class Portion:
    """Claims of a file: the number of the first among all, from 0, and the row of the file at which each begins."""

    first: int
    claims: pa.RecordBatch
    rows: npt.NDArray[np.int64]

    @property
    def end(self) -> int:
        """Number of the first claim behind it."""
        return self.first + len(self.rows)


class Portions:
    """One pass over a source. `counts` and `rejects` are complete once `take` gave None."""

    def __init__(self, source: ClaimSource, size: int, skip: int = 0) -> None:
        """`skip` claims at the beginning are read and left out."""
        self.counts = Counts(0, 0, 0, 0)
        self.rejects: list[Reject] = []
        self._size = size
        self._skip = skip
        self._stretches = self._counted(source)
        self._waiting: deque[ClaimRows] = deque()
        self._first = skip

    def take(self) -> Portion | None:
        """The next one; only the last is smaller than the others. Raises UsageError for a damaged file."""
        count = sum(len(each.rows) for each in self._waiting)
        while count < self._size and (stretch := next(self._stretches, None)) is not None:
            self._waiting.append(stretch)
            count += len(stretch.rows)
        if not count:
            return None
        claims = pa.concat_batches([each.claims for each in self._waiting])
        rows = np.concatenate([each.rows for each in self._waiting])
        taken = Portion(self._first, claims.slice(0, self._size), rows[: self._size])
        self._waiting.clear()
        if count > self._size:
            self._waiting.append(ClaimRows(claims.slice(self._size), rows[self._size :]))
        self._first = taken.end
        return taken

    def rest(self) -> None:
        """Read to the end for the counts alone."""
        for _ in self._stretches:
            pass

    def _counted(self, source: ClaimSource) -> Iterator[ClaimRows]:
        """Stretches behind what is skipped."""
        left = self._skip
        for read in source.batches():
            self.counts = self.counts.with_rows(read)
            self.rejects += read.rejects
            dropped = min(left, len(read.rows))
            left -= dropped
            if dropped < len(read.rows):
                yield ClaimRows(read.claims.slice(dropped), read.rows[dropped:])
