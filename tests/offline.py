"""Offline runs for tests, and their outputs read by other means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from models import CacheOptions
from stream.clock import SystemClock
from stream.offline import Fleet, Layout, OfflineScorer, Store, identity_of, opened_models, score_all
from stream.publishing import generate

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


def opened(
    output: Path,
    claims: pa.RecordBatch,
    fleet: Fleet,
    routes: Mapping[str, Sequence[str]] = NULL,
    layout: Layout = LAYOUT,
) -> Store:
    return Store.open(output, identity_of(claims, ("claims.csv", "test"), fleet, routes, layout))


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
            scorer = OfflineScorer(fleet, routes, layout, "claims.csv", SystemClock())
            score_all(claims, scorer, store, layout.portion, lambda _: None)
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
