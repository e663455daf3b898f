"""What a row must have to be a claim, where a file holds claims as they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stream.publishing.arrow_calls import Column, booleans, column, compute
from stream.publishing.claim_source import ClaimRows
from stream.publishing.rejects import Reject

IDENTITY = ("claim_id", "claim_type", "member_id")


def accepted(
    claims: pa.RecordBatch, rows: npt.NDArray[np.int64], rejects: tuple[Reject, ...] = ()
) -> ClaimRows:
    """The claims that have what identifies them; `rows` are their numbers in the file."""
    if not any(_lacks_text(claims.column(name)) for name in IDENTITY):
        return ClaimRows(claims, rows, rejects)
    reasons: dict[int, str] = {}
    for name in IDENTITY:
        for place in np.flatnonzero(_empty(claims.column(name))):
            reasons.setdefault(int(place), f"{name} is empty")
    return _without(claims, rows, rejects, reasons)


def _without(
    claims: pa.RecordBatch,
    rows: npt.NDArray[np.int64],
    rejects: tuple[Reject, ...],
    reasons: dict[int, str],
) -> ClaimRows:
    """The claims but those with a reason against them, which become rejects."""
    kept = np.ones(claims.num_rows, dtype=np.bool_)
    kept[list(reasons)] = False
    ids = claims.column("claim_id")
    own = [Reject(int(rows[place]), str(ids[place].as_py() or ""), why) for place, why in reasons.items()]
    told = tuple(sorted([*rejects, *own], key=lambda reject: reject.row))
    return ClaimRows(claims.take(column(np.flatnonzero(kept))), rows[kept], told)


def _lacks_text(values: Column) -> bool:
    return bool(values.null_count) or bool(compute.min(compute.binary_length(values)).as_py() == 0)


def _empty(values: Column) -> npt.NDArray[np.bool_]:
    return booleans(compute.fill_null(compute.equal(values, ""), True))
