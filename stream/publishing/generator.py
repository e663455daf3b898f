"""Plausible US health claims with planted, labelled anomalies, for machines without data.

Rows come from blocks of fixed size, each from a counter-based generator (Philox) keyed by seed and block
number, so that a row depends on the seed and its number alone, whatever range is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from stream.publishing.anomalies import plant
from stream.publishing.arrow_calls import column
from stream.publishing.catalog import load_catalog
from stream.publishing.claim_columns import ClaimColumns
from stream.publishing.encounters import draw_encounters
from stream.publishing.services import draw_services

BLOCK_ROWS = 2_000


def generate(count: int, seed: int, *, start: int = 0) -> Iterator[pa.RecordBatch]:
    """Rows start … start + count - 1 of the stream of `seed`, in batches of at most 2,000.

    attributes["anomaly"] is "none", "upcoding", "duplicate", "unbundling" or "impossible".
    """
    if count < 0 or start < 0 or seed < 0:
        raise ValueError(f"count, seed and start must not be negative: {count}, {seed}, {start}")
    columns = ClaimColumns(load_catalog())
    end = start + count
    for block in range(start // BLOCK_ROWS, -(-end // BLOCK_ROWS)):
        first = block * BLOCK_ROWS
        batch = generate_block(columns, seed, block)
        wanted = np.arange(max(start - first, 0), min(end - first, BLOCK_ROWS))
        if len(wanted):
            yield batch if len(wanted) == BLOCK_ROWS else batch.take(column(wanted))


def generate_block(columns: ClaimColumns, seed: int, block: int) -> pa.RecordBatch:
    """All rows of one block."""
    rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, block]))
    encounters = draw_encounters(rng, columns.catalog, BLOCK_ROWS)
    lines = draw_services(rng, columns.catalog, encounters)
    labels, diagnoses, lines = plant(rng, columns.catalog, encounters, lines)
    return columns.to_arrow(f"G{seed}-", block * BLOCK_ROWS, encounters, diagnoses, lines, labels)
