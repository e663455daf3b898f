"""Opens a file of claims: of rows that a mapping makes claims of, or of claims as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Mapping as Lookup
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream.errors import UsageError
from stream.publishing.arrow_calls import column
from stream.publishing.avro_claims import AvroClaims
from stream.publishing.claim_source import BATCH_ROWS, ClaimRows, ClaimSource
from stream.publishing.claims_file import ClaimsFile, load_claims
from stream.publishing.file_kinds import Kind, kind_of
from stream.publishing.json_claims import JsonClaims
from stream.publishing.mapping import Mapping
from stream.publishing.parquet_claims import ParquetClaims


def open_claims(path: Path, mapping: Mapping | None = None) -> ClaimSource:
    """The claims of `path`, a CSV, JSON lines, Avro container or Parquet file.

    With a mapping the whole file is read at once, because rows of one claim may stand anywhere. Without one the file
    must hold claims in the form of claim_event, which CSV cannot. Raises UsageError, before any claim is given out,
    for a file that is cut off, does not fit, or holds no claim.
    """
    kind = kind_of(path)
    if mapping is not None:
        return MappedClaims(kind, load_claims(path, mapping))
    if kind is Kind.CSV:
        raise UsageError(f"--mapping is missing: it says how the columns of {path} become claims, e.g. tuva")
    return _AS_THEY_ARE[kind](path)


@dataclass(frozen=True, slots=True)
class MappedClaims:
    """Claims that were made of rows, all in memory."""

    kind: Kind
    loaded: ClaimsFile

    @property
    def ignored(self) -> tuple[str, ...]:
        return self.loaded.ignored

    @property
    def expected(self) -> int:
        return self.loaded.counts.claims

    def batches(self) -> Iterator[ClaimRows]:
        """All rejects and merged rows come with the first batch, which may be empty."""
        rejects, merged = self.loaded.rejects, self.loaded.counts.merged
        for start in range(0, max(self.expected, 1), BATCH_ROWS):
            places = np.arange(start, min(start + BATCH_ROWS, self.expected))
            claims = self.loaded.claims.take(column(places))
            yield ClaimRows(claims, self.loaded.rows[places], rejects, merged)
            rejects, merged = (), 0


_AS_THEY_ARE: Lookup[Kind, Callable[[Path], ClaimSource]] = {
    Kind.AVRO: AvroClaims,
    Kind.PARQUET: ParquetClaims,
    Kind.JSON_LINES: JsonClaims,
}
