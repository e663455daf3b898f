"""Files of claims in every kind, for the tests."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

import schemas
from stream.codec import Encoder, Framing
from stream.publishing import generate


def claims(count: int, seed: int = 3) -> pa.Table:
    return pa.Table.from_batches(generate(count, seed))


def records(table: pa.Table) -> list[dict[str, Any]]:
    """Claims as an application has them: attributes in a dict."""
    return [{**row, "attributes": dict(row["attributes"])} for row in table.to_pylist()]


def write_avro(
    path: Path,
    rows: Sequence[dict[str, Any]],
    schema: dict[str, Any] | None = None,
    codec: str = "null",
    block: int = 16_000,
) -> Path:
    with path.open("wb") as file:
        fastavro.writer(file, schema or schemas.load("claim_event"), rows, codec, sync_interval=block)
    return path


def write_json(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, table: pa.Table, **options: Any) -> Path:
    pq.write_table(table, path, **options)
    return path


def bare(table: pa.Table) -> list[bytes]:
    """Each claim's bytes in Avro, without a frame."""
    encoder = Encoder(schemas.load("claim_event"), Framing.BARE)
    return [value for batch in table.to_batches() for value in encoder.encode(batch)]


def write_blocks(path: Path, blocks: Sequence[tuple[int, bytes]]) -> Path:
    """A container of claims with just these blocks: how many records, and their bytes."""
    header = write_avro(path, []).read_bytes()
    sync = header[-16:]
    path.write_bytes(
        header + b"".join(varint(count) + varint(len(data)) + data + sync for count, data in blocks)
    )
    return path


def varint(number: int) -> bytes:
    sink = io.BytesIO()
    fastavro.schemaless_writer(sink, "long", number)
    return sink.getvalue()
