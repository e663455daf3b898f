"""Claims as Arrow columns: what features read of them, whatever they come as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from models.errors import FeatureError

_CODE = pa.struct([("system", pa.string()), ("code", pa.string())])
_LINE = pa.struct(
    [
        ("procedure_code", pa.string()),
        ("revenue_code", pa.string()),
        ("units", pa.float64()),
        ("charge", pa.float64()),
    ]
)
COLUMNS = pa.schema(
    [
        ("claim_type", pa.string()),
        ("service_date", pa.date32()),
        ("received_date", pa.date32()),
        ("codes", pa.list_(_CODE)),
        ("lines", pa.list_(_LINE)),
        ("attributes", pa.map_(pa.string(), pa.string())),
    ]
)

Claims: TypeAlias = pa.RecordBatch | pa.Table | Sequence[Mapping[str, Any]]


def columns(claims: Claims) -> pa.RecordBatch:
    """One batch of a record batch, a table, or a list of dictionaries. Raises FeatureError that names the field."""
    if isinstance(claims, pa.RecordBatch):
        return claims
    if isinstance(claims, pa.Table):
        return pa.RecordBatch.from_struct_array(claims.to_struct_array().combine_chunks())
    for place, claim in enumerate(claims):
        if missing := [name for name in COLUMNS.names if name not in claim]:
            raise FeatureError(
                f"claim {place} of {len(claims)} has no {', '.join(missing)}; give it, empty if need be"
            )
    try:
        return pa.RecordBatch.from_pylist([dict(claim) for claim in claims], schema=COLUMNS)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise FeatureError(f"the claims are not of the types {COLUMNS.names}: {error}") from error
