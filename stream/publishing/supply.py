"""Where the claims of one publish run come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from stream.errors import UsageError
from stream.publishing.claim_source import Counts
from stream.publishing.claims_file import ClaimsFile, load_claims
from stream.publishing.generator import generate
from stream.publishing.mapping import load_mapping
from stream.publishing.rejects import Reject, write_rejects


@dataclass(frozen=True, slots=True)
class Supply:
    """Claims to publish; each call of `batches` starts a fresh pass over them."""

    counts: Counts
    batches: Callable[[], Iterable[pa.RecordBatch]]
    rejects: tuple[Reject, ...] = ()


def from_generator(count: int, seed: int) -> Supply:
    counts = Counts(rows=count, claims=count, rejected=0, merged=0)
    return Supply(counts, lambda: generate(count, seed))


def from_file(path: Path, mapping_name: str, rejects: Path | None = None) -> Supply:
    """Reads the whole file; rejected rows go to the file `rejects`.

    Raises UsageError for a file or mapping that does not fit, or when no row of the file makes a claim.
    """
    loaded = load_claims(path, load_mapping(mapping_name))
    if rejects is not None:
        write_rejects(rejects, loaded.rejects)
    if not loaded.counts.claims:
        raise UsageError(_nothing(path, loaded))
    return Supply(loaded.counts, loaded.batches, loaded.rejects)


def _nothing(path: Path, loaded: ClaimsFile) -> str:
    first = loaded.rejects[0]
    return (
        f"no row of {path} makes a claim: all {loaded.counts.rejected} are rejected,"
        f" the first (row {first.row}) because: {first.reason}. Check the mapping."
    )
