"""Claims of a file, whatever its kind: the seam between those who read files and those who use claims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.publishing.arrow_calls import Column
from stream.publishing.file_kinds import Kind
from stream.publishing.rejects import Reject

BATCH_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class ClaimRows:
    """One stretch of a file: claim_event columns, and the line or record number at which each claim begins.

    `rejects` and `merged` (further rows of claims that another row began) are those not told by an earlier stretch.
    `written` are the claims' bytes in Avro, unframed, where the file has them just as the claim schema writes them.
    """

    claims: pa.RecordBatch
    rows: npt.NDArray[np.int64]
    rejects: tuple[Reject, ...] = ()
    merged: int = 0
    written: Column | None = None


class ClaimSource(Protocol):
    """One file that was looked at and fits; nothing of it need be in memory."""

    @property
    def kind(self) -> Kind: ...

    @property
    def expected(self) -> int:
        """How many claims there are at most; exactly so many unless some are rejected."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """Fields of the file that are no part of a claim and are left out."""

    def batches(self) -> Iterator[ClaimRows]:
        """A fresh pass over the file in its order, about 2,000 claims at a time.

        Raises UsageError where the file turns out to be damaged.
        """


@dataclass(frozen=True, slots=True)
class Counts:
    """rows = claims + rejected + merged. Merged rows are further lines of a claim that another row began."""

    rows: int
    claims: int
    rejected: int
    merged: int

    def with_rows(self, read: ClaimRows) -> Counts:
        """The counts after one more stretch."""
        claims, rejected = read.claims.num_rows, len(read.rejects)
        return Counts(
            self.rows + claims + rejected + read.merged,
            self.claims + claims,
            self.rejected + rejected,
            self.merged + read.merged,
        )


NOTHING = Counts(0, 0, 0, 0)
