"""Offline runs for tests, and their outputs read by other means."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from models import CacheOptions
from stream.clock import SystemClock
from stream.offline import (
    Fleet,
    Layout,
    OfflineScorer,
    Origin,
    Portions,
    Store,
    identity_of,
    opened_models,
    score_all,
)
from stream.publishing import ClaimRows, Kind, generate

NULL = {"*": ["null"]}
LAYOUT = Layout(256)
# What a clock has a part in.
TIMES = ("input_timestamp", "scored_at", "queue_ms", "inference_ms")


def generated(count: int, seed: int = 5) -> pa.RecordBatch:
    return pa.concat_batches(list(generate(count, seed)))


@contextmanager
def fleet_of(
    folder: Path, routes: Mapping[str, Sequence[str]], repository: Path | None = None
) -> Iterator[Fleet]:
    """The models of the routes, on one thread as in the stage."""
    options = CacheOptions(
        redis_url=None, device="cpu", memory_folder=folder / "pool", repository=repository, threads=1
    )
    with opened_models(options, routes) as fleet:
        yield fleet


@dataclass(frozen=True)
class Memory:
    """Claims as a file would give them, in stretches that fit no portion; claim n stands in row n + 2."""

    claims: pa.RecordBatch
    kind: Kind = Kind.CSV
    ignored: tuple[str, ...] = ()

    @property
    def expected(self) -> int:
        return self.claims.num_rows

    def batches(self) -> Iterator[ClaimRows]:
        for start in range(0, self.expected, 700):
            part = self.claims.slice(start, 700)
            yield ClaimRows(part, np.arange(start, start + part.num_rows) + 2)


def opened(
    output: Path,
    claims: pa.RecordBatch,
    fleet: Fleet,
    routes: Mapping[str, Sequence[str]] = NULL,
    layout: Layout = LAYOUT,
) -> Store:
    content = hashlib.sha256(claims.serialize()).hexdigest()
    return Store.open(output, identity_of(Origin("claims.csv", "test", content, ""), fleet, routes, layout))


def score_into(
    store: Store,
    claims: pa.RecordBatch,
    fleet: Fleet,
    routes: Mapping[str, Sequence[str]] = NULL,
    layout: Layout = LAYOUT,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    scorer = OfflineScorer(fleet, routes, layout, "claims.csv", SystemClock())
    score_all(Portions(Memory(claims), layout.portion, store.done), scorer, store, advance)


def scored(
    output: Path,
    claims: pa.RecordBatch,
    fleet: Fleet,
    routes: Mapping[str, Sequence[str]] = NULL,
    layout: Layout = LAYOUT,
) -> None:
    """A run from its start, or from where another was broken off, to its output."""
    with opened(output, claims, fleet, routes, layout) as store:
        if not store.delivered:
            score_into(store, claims, fleet, routes, layout)
        store.deliver()


def read(output: Path) -> list[dict[str, Any]]:
    """Records of a Parquet or Avro output, without what depends on the time."""
    if output.suffix == ".parquet":
        records = pyarrow.parquet.read_table(output).to_pylist()
    else:
        with output.open("rb") as file:
            records = list(fastavro.reader(file))
    return [{name: value for name, value in record.items() if name not in TIMES} for record in records]


def read_lines(output: Path) -> list[dict[str, Any]]:
    """Lines of a CSV output, without what depends on the time."""
    kinds = {"score": pa.float32(), "claim_id": pa.string(), "model": pa.string()}
    table = pyarrow.csv.read_csv(output, convert_options=pyarrow.csv.ConvertOptions(column_types=kinds))
    return table.drop_columns(list(TIMES)).to_pylist()
