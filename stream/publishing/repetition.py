"""The same claims several times over, with ids that stay distinct."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from stream.publishing.arrow_calls import compute
from stream.publishing.publisher import Batch, claims_of


def repeated(source: Callable[[], Iterable[Batch]], times: int) -> Iterator[Batch]:
    """Each pass over `source` after the first adds ~2, ~3 … to the claim ids."""
    for number in range(1, times + 1):
        for batch in source():
            yield batch if number == 1 else _renamed(claims_of(batch), f"~{number}")


def _renamed(batch: pa.RecordBatch, suffix: str) -> pa.RecordBatch:
    place = batch.schema.get_field_index("claim_id")
    renamed = compute.binary_join_element_wise(batch.column(place), suffix, "")
    return batch.set_column(place, batch.schema.field(place), renamed)
